import { REDACTED } from './redact.ts';

const BEGIN = /-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY/;
const END = /-{4,5} ?END [A-Z0-9 ]{0,40}PRIVATE KEY/;
/** Lines of a key, whatever stands before them; the last one can be short. */
const CONTENT = /[A-Za-z0-9+/]{24}|^\s*[A-Za-z0-9+/]+={0,2}\s*$|^\s*(?:Proc-Type|DEK-Info|Comment):/;
/** The longest keys have some 200 lines. */
const LINES_MAX = 500;

/**
 * Takes private keys out of a text that comes line by line: `redact` only knows those that are in one piece. Lines of
 * others between those of the key stay, and a key without its end hides no more than the longest key has.
 */
export function createKeyHider(): (line: string) => string {
  let left = 0;
  return (line) => {
    const isStart = BEGIN.test(line);
    const isInside = isStart || left > 0;
    left = isStart ? LINES_MAX : Math.max(0, left - 1);
    if (END.test(line)) left = 0;
    return isInside && (isStart || CONTENT.test(line)) ? REDACTED : line;
  };
}
