/**
 * Says why a string can't safely be a blob's name, or undefined when it can.
 *
 * Accepted: 1 to 1,024 characters in at most 254 segments, any Unicode, spaces, `%`, `#`, `?`, `+`, quotes.
 * Refused, because the service or a URL on the way would turn it into another name or none:
 * empty segments, `.` and `..` as segments, segments ending in a dot, backslashes (stored as `/`),
 * control characters (break the listing's XML) and half surrogate pairs.
 * Source: learn.microsoft.com, Naming and Referencing Containers, Blobs, and Metadata; the last two by trial.
 */
export function blobNameProblem(name: string): string | undefined {
  if (name === '') return 'is empty';
  if (name.length > NAME_LENGTH_MAX) return `is longer than ${NAME_LENGTH_MAX} characters`;
  if (!name.isWellFormed()) return 'is not well-formed Unicode';
  if (name.includes('\\')) return 'contains a backslash, which the service would turn into a slash';
  if (hasControlCharacter(name)) return 'contains a control character';
  const segments = name.split('/');
  if (segments.length > SEGMENTS_MAX) return `has more than ${SEGMENTS_MAX} segments`;
  if (segments.includes('')) return 'has an empty segment between slashes or at an end';
  if (segments.some((segment) => segment.endsWith('.'))) return 'has a segment that ends in a dot';
  return undefined;
}

const NAME_LENGTH_MAX = 1024;
const SEGMENTS_MAX = 254;

function hasControlCharacter(name: string): boolean {
  for (let index = 0; index < name.length; index++) {
    const unit = name.charCodeAt(index);
    // C0, DEL, C1, and the two that XML 1.0 has no way to write.
    if (unit < 0x20 || (unit >= 0x7f && unit <= 0x9f) || unit === 0xfffe || unit === 0xffff) return true;
  }
  return false;
}
