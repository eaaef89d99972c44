/** What could move the cursor, change colours, turn the order of characters or end a line; and halves of characters. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;

/** Text of others (paths, names, reasons) as one line for people: what isn't to be seen is written as `\u{…}`. */
export function shownText(text: string): string {
  return text.replaceAll(
    UNSEEN,
    (character) => String.raw`\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

/** A copy of a plain document in which each string, keys included, is as `shownText` makes it. */
export function shownDeep<T>(document: T): T {
  return copy(document) as T; // Of the same shape: only what is in its strings is another.
}

function copy(value: unknown): unknown {
  if (typeof value === 'string') return shownText(value);
  if (Array.isArray(value)) return value.map(copy);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [shownText(key), copy(member)]));
}

/**
 * Lines for a terminal or a log: all that isn't to be seen, but line ends and tabs, is written as `\uXXXX`. In a line
 * of JSON such characters can only be in strings, where this means the same.
 */
export function shownLines(text: string): string {
  return text.replaceAll(UNSEEN, (character) => {
    if (character === '\n' || character === '\t') return character;
    const units = Array.from({ length: character.length }, (_, index) => character.charCodeAt(index));
    return units.map((unit) => String.raw`\u${unit.toString(16).padStart(4, '0')}`).join('');
  });
}
