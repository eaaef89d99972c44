import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { z } from 'zod';

import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';
import { createSelfSigned } from '../support/tls.ts';

const SOURCES = fileURLToPath(new URL('sink/', import.meta.url));
const CONTAINER = 'bench/container';
/** The sink looks at no signature; clients want one that looks like one. */
export const SIGNATURE = 'sv=2021-08-06&se=2099-01-01T00:00:00Z&sr=c&sp=racwdl&sig=bench';

const Ports = z.object({ http: z.number(), https: z.number() });
const Stats = z.object({ requests: z.number(), writes: z.number(), bytesIn: z.number(), cpuMs: z.number() });
export type SinkStats = z.infer<typeof Stats>;

/** A server that takes blobs faster than any client can send them, in a process of its own. */
export interface Sink extends AsyncDisposable {
  /** Of its container, over TLS. */
  readonly url: string;
  readonly caFile: string;
  /** Holds a shared access signature. */
  readonly signatureFile: string;
  stats(): Promise<SinkStats>;
  /** Every answer comes so much later. */
  latency(ms: number): Promise<void>;
}

/** Compiles it into `folder` and starts it. Without `keep` what it got can't be read again. */
export async function startSink(folder: string, options: { readonly keep?: boolean } = {}): Promise<Sink> {
  const [program, caFile, keyFile, signatureFile] = ['sink', 'ca.pem', 'key.pem', 'signature'].map((name) =>
    join(folder, name),
  ) as [string, string, string, string]; // As many as there are names.
  await compile(program);
  const { cert, key } = createSelfSigned();
  await writeFile(caFile, cert);
  await writeFile(keyFile, key, { mode: 0o600 });
  await writeFile(signatureFile, SIGNATURE, { mode: 0o600 });
  // It ends with its standard input, so that it never outlives the benchmark.
  const child = spawn(program, [caFile, keyFile, ...(options.keep === true ? ['keep'] : [])], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  // An argument list, about which the types say nothing.
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const { http, https } = Ports.parse(JSON.parse(line.toString()));
  const control = `http://127.0.0.1:${http}/sink`;
  return {
    url: `https://127.0.0.1:${https}/${CONTAINER}`,
    caFile,
    signatureFile,
    stats: async () => Stats.parse(await (await fetch(`${control}/stats`)).json()),
    async latency(ms) {
      await (await fetch(`${control}/latency?us=${Math.round(ms * 1000)}`)).text();
    },
    async [Symbol.asyncDispose]() {
      const exited = once(child, 'exit');
      child.stdin.end();
      await exited;
    },
  };
}

async function compile(program: string): Promise<void> {
  const { missing } = ensureDebianPackages(['gcc', 'libc6-dev', 'libssl-dev']);
  if (missing.length > 0) throw new Error(`the sink can't be compiled without ${missing.join(', ')}`);
  const sources = (await readdir(SOURCES)).filter((name) => name.endsWith('.c'));
  const args = ['-O2', '-o', program, ...sources, '-lssl', '-lcrypto', '-lpthread'];
  const { status, stderr } = spawnSync('gcc', args, { cwd: SOURCES, encoding: 'utf8', timeout: 60_000 });
  if (status !== 0) throw new Error(`gcc: ${stderr}`);
}
