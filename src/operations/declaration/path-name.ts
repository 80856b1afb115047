/** How AWS calls a member in messages and on record: with a small first letter, so that `KeyId` is `keyId`. */

/** Of members that are declared, once each: this is on the path of every request. */
const pathNames = new Map<string, string>();

export function pathName(memberName: string): string {
  const known = pathNames.get(memberName);
  if (known !== undefined) return known;
  const name = memberName.charAt(0).toLowerCase() + memberName.slice(1);
  pathNames.set(memberName, name);
  return name;
}
