/** A key policy, parsed and validated. */
export interface CompiledPolicy {
  readonly statements: readonly unknown[];
}
