import { randomFillSync } from 'node:crypto';
import { mkdir, mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { systemClock } from '../../src/base/clock.ts';
import { createAzureBlobStore } from '../../src/checkpoint/azure-store.ts';
import { createCheckpointer } from '../../src/checkpoint/checkpointer.ts';
import type { BlobStore } from '../../src/checkpoint/store.ts';
import { compressFrame, decompressFrame } from '../../src/checkpoint/zstd-frame.ts';
import { type Sink, startSink } from './sink.ts';

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

const BLOCK_BYTES = 4 * 1024 ** 2;
const BLOCKS = 32;
const LINKS_MEGABITS = [100, 1000, 10_000];

const SHAPES: Readonly<Record<string, (block: number) => Buffer>> = {
  'JSON lines': jsonLines,
  'float32, normal': tensors,
  'compressed already': () => randomFillSync(Buffer.allocUnsafe(BLOCK_BYTES)),
  'zeros, a page in 16 used': sparse,
};

/** How long a commit from nothing takes over links of several speeds, as it is and compressed. */
export async function* measureCompression(): AsyncGenerator<CompressionResult> {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-bench-'));
  try {
    await using sink = await startSink(folder);
    for (const [shape, make] of Object.entries(SHAPES)) {
      const source = join(folder, 'data');
      await mkdir(source);
      await writeBlocks(join(source, 'state'), make);
      const links: CompressionResult['links'][number][] = [];
      for (const megabits of LINKS_MEGABITS) {
        const key = `${shape.replaceAll(/\W+/g, '-')}-${megabits}`;
        const plainMs = await commitMs(sink, source, `${key}-plain`, 'none', megabits);
        const zstdMs = await commitMs(sink, source, `${key}-zstd`, 'zstd', megabits);
        links.push({ megabits, plainMs, zstdMs });
      }
      yield {
        name: 'compression',
        shape,
        bytes: BLOCKS * BLOCK_BYTES,
        ...ownSpeed(make(0)),
        links,
      };
      await rm(source, { recursive: true });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function commitMs(
  sink: Sink,
  source: string,
  key: string,
  compress: 'none' | 'zstd',
  megabits: number,
): Promise<number> {
  const store = await createAzureBlobStore({
    url: sink.url,
    auth: { kind: 'sas', file: sink.signatureFile },
    ca: await readFile(sink.caFile, 'utf8'),
  });
  const signal = AbortSignal.timeout(120_000);
  const checkpointer = createCheckpointer(
    {
      prefix: '',
      key,
      sets: [{ name: 'job', path: source, include: ['**'], exclude: [], priority: 50, compress }],
      writer: { vmName: 'bench', vmId: 'bench', bootId: 'bench' },
    },
    { store: overLink(store, megabits), clock: systemClock },
  );
  await store.keepWarm(signal);
  const startedAt = performance.now();
  const result = await checkpointer.commit({ set: 'job', reason: 'notice' }, signal);
  const ms = performance.now() - startedAt;
  await checkpointer.close();
  store.stop();
  if (result.kind === 'failed') throw new Error(`${result.code}: ${result.detail}`);
  return ms;
}

/** As if everything that is sent had to pass a link of so many Mbit/s, one after the other. */
function overLink(store: BlobStore, megabits: number): BlobStore {
  let freeAt = 0;
  const pass = async (bytes: number) => {
    freeAt = Math.max(freeAt, performance.now()) + (bytes * 8) / (megabits * 1000);
    const ms = freeAt - performance.now();
    if (ms > 1) await new Promise((resolve) => setTimeout(resolve, ms));
  };
  return {
    describe: store.describe,
    list: (...call) => store.list(...call),
    read: (...call) => store.read(...call),
    download: (...call) => store.download(...call),
    blocks: (...call) => store.blocks(...call),
    commitBlocks: (...call) => store.commitBlocks(...call),
    snapshot: (...call) => store.snapshot(...call),
    head: (...call) => store.head(...call),
    remove: (...call) => store.remove(...call),
    async stageBlock(name, id, body, signal) {
      await pass(body.length);
      await store.stageBlock(name, id, body, signal);
    },
    async put(name, body, write, signal) {
      await pass(body.length);
      return store.put(name, body, write, signal);
    },
  };
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
