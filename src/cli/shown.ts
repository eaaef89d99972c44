/**
 * Text of others (paths, names, reasons) for a terminal and for lines of text: what could move the cursor, change
 * colours or turn the order of characters is written as `\u{…}`, and so are halves of characters, which stand for bytes.
 */
export function shownText(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu,
    (character) => String.raw`\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}
