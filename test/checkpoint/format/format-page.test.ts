import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { describe, expect, test } from 'vitest';

import { parseSetFormat } from '../../../src/checkpoint/format/manifest-json.ts';
import { cutLeaves } from '../../../src/checkpoint/format/tree/tree.ts';
import { createPieces, entriesOf, SPEC } from './tree-rig.ts';

const PAGE = fileURLToPath(new URL('../../../packaging/docs/format.md', import.meta.url));
const blocks = (await readFile(PAGE, 'utf8')).split('```\n').filter((_, index) => index % 2 === 1);

describe('the page that describes the format', () => {
  test('has a leaf that is one, byte by byte', async () => {
    const leaf = blocks.find((block) => block.startsWith('{"kind":"leaf"')) ?? '';
    const pieces = createPieces();
    const entries = await entriesOf(pieces.put(Buffer.from(leaf)), pieces);
    expect(entries.map(({ type }) => type)).toEqual(['directory', 'file', 'file', 'hardlink', 'symlink']);
    const [again] = cutLeaves(entries);
    expect(Buffer.from(again?.bytes ?? []).toString('utf8')).toBe(leaf);
  });

  test('has a format.json that is one', () => {
    const format = blocks.find((block) => block.includes('"cut"')) ?? '';
    expect(parseSetFormat(Buffer.from(format), 'format.json').hash).toEqual(SPEC);
  });
});
