import type { ManifestFile } from '../../src/checkpoint/schema.ts';

/** A file of one byte as a manifest has it. */
export function manifestFile(path: string): ManifestFile {
  return {
    path,
    blob: `files/${path}`,
    snapshot: '2026-01-01T00:00:00.0000000Z',
    etag: '"0x1"',
    size: 1,
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtimeNs: '1',
    blockSize: 4096,
    blocks: [`${'A'.repeat(22)}==`],
  };
}
