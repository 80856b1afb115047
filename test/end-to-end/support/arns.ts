/** ARNs as a user of a default instance writes them. */

export const region = 'us-east-1';
export const account = '000000000000';
export const rootArn = `arn:aws:iam::${account}:root`;

export const keyArn = (keyId: string): string => `arn:aws:kms:${region}:${account}:key/${keyId}`;
export const aliasArn = (aliasName: string): string => `arn:aws:kms:${region}:${account}:${aliasName}`;
export const unixUserArn = (userName: string): string => `arn:aws:iam::${account}:user/unix/${userName}`;

/** A well-formed id that no key has. */
export const unknownKeyId = '01234567-89ab-4cde-8f01-23456789abcd';
export const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
