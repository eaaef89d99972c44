import type { BlockBlobClient, ContainerClient } from '@azure/storage-blob';

import { EvictdError } from '../../../base/errors.ts';

/** The SDK's client of a blob. Throws `refused` for a name that could not be stored under itself. */
export function blobIn(container: ContainerClient, name: string): BlockBlobClient {
  const problem = blobNameProblem(name);
  if (problem === undefined) return container.getBlockBlobClient(name);
  throw new EvictdError('refused', `the blob name ${JSON.stringify(name)} ${problem}`);
}

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
  // C0, DEL, C1, and the two that XML 1.0 has no way to write.
  if (/[^\u0020-\u007e\u00a0-\ufffd]/.test(name)) return 'contains a control character';
  if (name.split('/').length > SEGMENTS_MAX) return `has more than ${SEGMENTS_MAX} segments`;
  if (/^\/|\/\/|\/$/.test(name)) return 'has an empty segment between slashes or at an end';
  if (/\.(?:\/|$)/.test(name)) return 'has a segment that ends in a dot';
  return undefined;
}

const NAME_LENGTH_MAX = 1024;
const SEGMENTS_MAX = 254;
