import { hash } from 'node:crypto';

/** A block's id in the service's block list: base64 of the sha256 of its content, 44 characters for every block. */
export function blockIdOf(content: Uint8Array): string {
  return hash('sha256', content, 'base64');
}

/** One word for a whole sequence of blocks; kept in a blob's metadata to recognise its content without its block list. */
export function contentIdOf(blocks: readonly string[]): string {
  return hash('sha256', blocks.join('\n'), 'base64');
}

export function sameBlocks(one: readonly string[] | undefined, other: readonly string[]): boolean {
  return one !== undefined && one.length === other.length && one.every((id, index) => id === other[index]);
}
