/** Patterns as AWS's service model writes them, and as its messages repeat them: a value matches as a whole, anchors or not. */

/** @param source In the model's own spelling, which a `RegExp` does not keep (`/` would be `\/`). */
export function wholly(source: string): Pick<RegExp, 'source' | 'test'> {
  const pattern = new RegExp(`^(?:${source})$`);
  return { source, test: (value) => pattern.test(value) };
}
