/** Parts of README.md that scripts write: what stands between two comments that name the script. */

export interface MarkedPart {
  /** What the text has there, without the blank lines around it. */
  readonly find: (text: string) => string;
  /** The text with something else there. */
  readonly replace: (text: string, part: string) => string;
}

/** @param script From the top of the checkout. */
export function markedPart(script: string): MarkedPart {
  const start = `<!-- made by ${script}: begin -->`;
  const end = `<!-- made by ${script}: end -->`;
  const split = (text: string): readonly [before: string, part: string, after: string] => {
    const from = text.indexOf(start);
    const to = text.indexOf(end);
    if (from < 0 || to < from) throw new Error(`README.md has lost the markers of ${script}`);
    return [text.slice(0, from), text.slice(from + start.length, to).trim(), text.slice(to + end.length)];
  };
  return {
    find: (text) => split(text)[1],
    replace(text, part) {
      const [before, , after] = split(text);
      return `${before}${start}\n\n${part}\n\n${end}${after}`;
    },
  };
}
