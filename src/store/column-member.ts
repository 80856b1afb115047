/** What a member of a record is to the store: a value that becomes a column and, if nobody edited it, the same value again. */

/** A column holds text or a whole number and nothing else. */
export type ColumnValue = string | number;

export interface Member<Value> {
  /** @throws TypeError for a value that would not come back as it went in. */
  readonly toColumn: (value: Value) => ColumnValue;
  readonly fromColumn: (column: unknown) => Value | undefined;
}

/** A lone surrogate would become U+FFFD on its way through UTF-8, and two records could end up the same. */
export function wellFormed(value: string): string {
  if (!value.isWellFormed()) throw new TypeError('a text with a lone surrogate cannot be kept');
  return value;
}
