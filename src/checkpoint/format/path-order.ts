import { encodePath } from '../../base/files/path-name.ts';

const SLASH = 0x2f;

/**
 * The order of a tree: by segments, each by its bytes. A folder is directly before what is in it, and a walk that takes
 * the names of each folder in the order of their bytes gives this order.
 * Both must be without a pathProblem; `bad-path` may be thrown otherwise.
 */
export function comparePaths(one: string, other: string): number {
  const length = Math.min(one.length, other.length);
  for (let at = 0; at < length; at++) {
    const a = one.charCodeAt(at);
    const b = other.charCodeAt(at);
    if (a === b) continue;
    if (a === SLASH) return -1;
    if (b === SLASH) return 1;
    // Below the surrogates, code units are in the order of the bytes that they are written with.
    return a < 0xd800 && b < 0xd800 ? a - b : compareBytes(one, other, at);
  }
  return one.length - other.length;
}

/** Surrogates are halves of characters beyond 16 bits, or bytes that are no UTF-8. `at`: where the strings part. */
function compareBytes(one: string, other: string, at: number): number {
  // Not in the middle of a pair.
  const before = at > 0 ? one.charCodeAt(at - 1) : 0;
  const from = before >= 0xd800 && before < 0xdc00 ? at - 1 : at;
  return encodePath(one.slice(from)).compare(encodePath(other.slice(from)));
}
