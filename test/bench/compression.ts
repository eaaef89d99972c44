import { randomFillSync } from 'node:crypto';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';

import { compressFrame, decompressFrame } from '../../src/checkpoint/format/zstd-frame.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { SETTLE_MS, startDaemon } from './daemon.ts';
import { openWork, type Work } from './uploads.ts';

/** Of one shape of data. */
export interface CompressionResult {
  readonly name: 'compression';
  readonly shape: string;
  readonly bytes: number;
  readonly ratio: number;
  /** Per thread, by CPU time. */
  readonly mibPerSecond: number;
  readonly mibPerSecondBack: number;
  readonly links: readonly {
    readonly megabits: number;
    readonly plainMs: number;
    readonly zstdMs: number;
  }[];
}

/** A chunk, which is compressed by itself. */
const BLOCK_BYTES = 1024 ** 2;
const BLOCKS = 128;
const LINKS_MEGABITS = [100, 1000, 10_000];

const SHAPES: Readonly<Record<string, (block: number) => Buffer>> = {
  'JSON lines': jsonLines,
  'float32, normal': tensors,
  'compressed already': () => randomFillSync(Buffer.allocUnsafe(BLOCK_BYTES)),
  'zeros, a page in 16 used': sparse,
};

/** How long a commit from nothing takes over links of several speeds, as it is and compressed. */
export async function* measureCompression(): AsyncGenerator<CompressionResult> {
  await using work = await openWork();
  for (const [shape, make] of Object.entries(SHAPES)) {
    const source = join(work.folder, 'data');
    await mkdir(source);
    await writeBlocks(join(source, 'state'), make);
    const links: CompressionResult['links'][number][] = [];
    for (const megabits of LINKS_MEGABITS) {
      const plainMs = await commitMs(work, source, 'none', megabits);
      const zstdMs = await commitMs(work, source, 'zstd', megabits);
      links.push({ megabits, plainMs, zstdMs });
    }
    yield {
      name: 'compression',
      shape,
      bytes: BLOCKS * BLOCK_BYTES,
      ...ownSpeed(make(0)),
      links,
    };
    await work.removeData();
  }
}

async function commitMs(
  { folder, sink }: Work,
  source: string,
  compress: 'none' | 'zstd',
  megabits: number,
): Promise<number> {
  await using imds = await startTestImds();
  const options = { sink, folder, imdsUrl: imds.url, key: 'compression', source, set: { compress } };
  await using daemon = await startDaemon(options, SETTLE_MS);
  await sink.link(megabits);
  const { ms } = await daemon.checkpoint();
  await sink.link(0);
  await sink.clear();
  return ms;
}

function ownSpeed(block: Buffer) {
  const rounds = 20;
  const mib = (rounds * block.length) / 1024 ** 2;
  const frame = compressFrame(block);
  return {
    ratio: block.length / frame.length,
    mibPerSecond: mib / cpuSeconds(rounds, () => compressFrame(block)),
    mibPerSecondBack: mib / cpuSeconds(rounds, () => decompressFrame(frame, block.length)),
  };
}

function cpuSeconds(rounds: number, work: () => unknown): number {
  const before = process.cpuUsage();
  for (let round = 0; round < rounds; round++) work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

async function writeBlocks(file: string, make: (block: number) => Buffer): Promise<void> {
  await using handle = await open(file, 'w');
  for (let block = 0; block < BLOCKS; block++) await handle.write(make(block));
  await handle.datasync();
}

function jsonLines(block: number): Buffer {
  const lines: string[] = [];
  for (let length = 0, step = block * 100_000; length < BLOCK_BYTES; step++) {
    const at = new Date(1.7e12 + step * 1000).toISOString();
    const line = `${JSON.stringify({ step, at, worker: `worker-${step % 97}`, loss: Math.random(), tags: ['train', 'gpu'] })}\n`;
    lines.push(line);
    length += line.length;
  }
  return Buffer.from(lines.join('')).subarray(0, BLOCK_BYTES);
}

function tensors(): Buffer {
  const numbers = new Float32Array(BLOCK_BYTES / 4);
  for (let at = 0; at < numbers.length; at += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - Math.random()));
    const angle = 2 * Math.PI * Math.random();
    numbers[at] = radius * Math.cos(angle);
    numbers[at + 1] = radius * Math.sin(angle);
  }
  return Buffer.from(numbers.buffer);
}

function sparse(): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  for (let at = 0; at < block.length; at += 65_536) randomFillSync(block, at, 4096);
  return block;
}

export const COMPRESSION_HEADER = [
  '',
  'ratio',
  'MiB/s',
  'MiB/s back',
  ...LINKS_MEGABITS.map((megabits) => `${megabits} Mbit/s`),
];

export function compressionRow({
  shape,
  ratio,
  mibPerSecond,
  mibPerSecondBack,
  links,
}: CompressionResult): string[] {
  return [
    shape,
    ratio.toFixed(2),
    mibPerSecond.toFixed(0),
    mibPerSecondBack.toFixed(0),
    ...links.map(({ plainMs, zstdMs }) => `${(plainMs / 1000).toFixed(2)} → ${(zstdMs / 1000).toFixed(2)} s`),
  ];
}
