import { readFile } from 'node:fs/promises';
import path from 'node:path';

import * as z from 'zod';

import { replaceFile } from '../base/files/durable-file.ts';
import type { Instance } from '../imds/instance.ts';

const Cached = z.strictObject({
  bootId: z.string(),
  instance: z.strictObject({
    name: z.string().min(1),
    vmId: z.string(),
    scaleSet: z.string(),
    location: z.string(),
    zone: z.string(),
    tags: z.record(z.string(), z.string()),
    priority: z.string(),
    evictionPolicy: z.string(),
  }),
});

/**
 * The instance document of this boot: names of instances can be reused, so it is never taken from an earlier one.
 * Undefined when there is none or it can't be read: then the metadata service is asked.
 */
export async function readCachedInstance(stateDir: string, bootId: string): Promise<Instance | undefined> {
  try {
    const cached = Cached.parse(JSON.parse(await readFile(fileIn(stateDir), 'utf8')));
    return cached.bootId === bootId ? cached.instance : undefined;
  } catch {
    // Missing or damaged makes no difference: it only saves a request.
    return undefined;
  }
}

export async function cacheInstance(stateDir: string, bootId: string, instance: Instance): Promise<void> {
  await replaceFile(fileIn(stateDir), [`${JSON.stringify({ bootId, instance })}\n`]);
}

function fileIn(stateDir: string): string {
  return path.join(stateDir, 'instance.json');
}
