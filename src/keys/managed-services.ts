/**
 * Who is, in one Region, what a service is in AWS: programs for which the configuration has AWS managed keys.
 *
 * A request of such a principal is one that came through its service: it has the condition key `kms:ViaService`, and no other
 * request has. Principals are compared as they are, so nobody is a service by way of the account or of somebody else's session;
 * a session of a role is what its role is.
 */

import { type Realm, serviceEndpoint } from '../kms/names.ts';

/** The names of services (`ebs`), each with the ARNs of the users and roles that are it. No principal is two services. */
export type ServicePrincipals = ReadonlyMap<string, readonly string[]>;

export class ManagedServices {
  readonly #realm: Realm;
  #endpointOf: ReadonlyMap<string, string> = new Map();

  constructor(realm: Realm) {
    this.#realm = realm;
  }

  /** From now on these are the services, and no others. */
  replace(services: ServicePrincipals): void {
    this.#endpointOf = new Map(
      [...services].flatMap(([service, principals]) =>
        principals.map((principal) => [principal, serviceEndpoint(this.#realm, service)] as const),
      ),
    );
  }

  /** The value of `kms:ViaService` in the requests of this caller; `undefined`: he is no service. */
  viaService({ arn, role }: { readonly arn: string; readonly role?: string | undefined }): string | undefined {
    return this.#endpointOf.get(arn) ?? (role === undefined ? undefined : this.#endpointOf.get(role));
  }
}
