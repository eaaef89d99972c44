import { normalize } from 'node:path';

import * as z from 'zod';

import { nearest } from './nearest.ts';
import { encryptionFault, storeUrlFault } from './store-url.ts';
import {
  absolutePath,
  choice,
  duration,
  flag,
  integer,
  leafMeta,
  name,
  secretFile,
  size,
  text,
} from './schema-leaf.ts';

const PLACEHOLDERS = /\{(?:vmName|vmId|scaleSet|tag:[^{}<>%&\\?/]{1,256})\}/g;

const Auth = z
  .discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('managed-identity'),
      clientId: text({
        description: 'Client id of a user-assigned identity; without it the system-assigned one is used.',
        allowed: 'a GUID',
        test: (value) => /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value),
        wrong: 'not a client id',
        example: '00000000-0000-0000-0000-000000000000',
      }).optional(),
    }),
    z.strictObject({
      kind: z.literal('connection-string'),
      file: secretFile('File that holds the connection string.', '/etc/evictd/connection-string'),
    }),
    z.strictObject({
      kind: z.literal('sas'),
      file: secretFile('File that holds the SAS token.', '/etc/evictd/sas'),
    }),
    z.strictObject({ kind: z.literal('azurite') }),
  ])
  .prefault({ kind: 'managed-identity' })
  .meta({
    description: 'How to authenticate to the store; azurite stands for the emulator and its well-known key.',
  });

const Store = z
  .strictObject({
    url: z
      .string()
      .superRefine((url, context) => {
        const fault = storeUrlFault(url);
        if (fault !== undefined) context.addIssue({ code: 'custom', ...fault });
      })
      .meta({
        description:
          'Container and an optional prefix in it. For the emulator: http://127.0.0.1:10000/devstoreaccount1/CONTAINER[/PREFIX].',
        'x-allowed': "https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX], or the emulator's URL",
        'x-example': 'https://ACCOUNT.blob.core.windows.net/checkpoints',
      }),
    auth: Auth,
  })
  .superRefine((store, context) => {
    const fault = encryptionFault(store.url, store.auth.kind);
    if (fault !== undefined) context.addIssue({ code: 'custom', path: ['url'], ...fault });
  })
  .meta({ description: 'Where the checkpoints go: a container of Azure Blob Storage. It has to exist.' });

const globs = (description: string) =>
  z
    .array(
      text({
        description: 'Pattern.',
        allowed: 'a pattern relative to path, without ".." parts',
        test: (value) => value !== '' && !value.startsWith('/') && !value.split('/').includes('..'),
        wrong: 'not a usable pattern',
      }),
    )
    .meta({ description, 'x-allowed': 'a list of glob patterns' });

export const CheckpointSet = z
  .strictObject({
    name: name('Name in the store, the log and on the command line.', 'job'),
    path: absolutePath('Folder whose files make up the checkpoint.', '/var/lib/job/state').refine(
      (value) => /[^/.]/.test(value),
      'the whole file system',
    ),
    include: globs('Files that belong to it.').default(['**']),
    exclude: globs('Files that do not, although included.').default([]),
    priority: integer({ description: 'Lower is committed first.', min: 0, max: 10_000 }).default(50),
    compress: choice(
      ['none', 'zstd'],
      'How new content is stored; zstd: as frames, where that saves an eighth. Pays for text and JSON at 1 Gbit/s and less; floats, images and archives hardly get smaller.',
    ).default('none'),
    first: globs('Files that are sent before all others.').default([]),
    appendOnly: globs(
      'Files that only ever grow, such as logs: of one that grew only the end is read.',
    ).default([]),
    atDeadline: choice(
      ['previous', 'files'],
      'Where the notice ends before the whole set is stored; previous: the checkpoint before stays the newest. files: a partial one has each file that is stored by then, and the others as before; there is no ack for it, and `evictd restore --whole` passes it over.',
    ).default('previous'),
    together: globs('Files that a partial checkpoint has all new or all as before.').default([]),
    hash: choice(
      ['gmac-128', 'sha256-128'],
      'How chunks are told apart, for a set that is new in the store: gmac-128 at the speed of memory, sha256-128 where a rule asks for a cryptographic hash.',
    ).default('gmac-128'),
  })
  .meta({ description: 'One folder that is saved; each set commits by itself.' });
export type CheckpointSet = z.output<typeof CheckpointSet>;

const Background = z.union([
  z.literal(false),
  z.strictObject({
    interval: duration({
      description: 'Time between two looks at the files.',
      min: '1s',
      max: '1d',
    }).prefault('30s'),
    idle: duration({
      description: 'A file is staged once it has not been written to for this long.',
      min: '0s',
      max: '1h',
    }).prefault('5s'),
    maxRate: size({
      description:
        'Bytes sent per second at most; four times as many are read of files that are only compared.',
      min: '64KiB',
      max: '1TiB',
    }).prefault('50MiB'),
  }),
]);

const count = (description: string, min: number) => integer({ description, min, max: 10_000 });

const Keep = z
  .union([
    count('Newest checkpoints of each set that pruning leaves.', 1),
    z.strictObject({
      last: count('The newest ones.', 1).default(1),
      hourly: count('Of the newest hours that have one, the newest of each.', 0).default(0),
      daily: count('Of the newest days that have one, the newest of each.', 0).default(0),
    }),
  ])
  .meta({
    description:
      'Checkpoints of each set that pruning leaves: the newest ones, or also one of each hour or day (UTC). In any case the newest that is not empty stays, the newest that is whole, and what is younger than an hour.',
    'x-allowed': 'a whole number from 1 to 10000, or a map with last, hourly and daily',
  });

export const Checkpoint = z
  .strictObject({
    store: Store,
    key: z
      .string()
      .superRefine((template, context) => {
        if (isKeyTemplate(template)) return;
        context.addIssue({ code: 'custom', message: `not a usable key${placeholderHint(template)}` });
      })
      .meta(
        leafMeta({
          description:
            'Who shares a line of checkpoints; a replacement VM restores by it. Placeholders: {vmName}, {vmId}, {scaleSet}, {tag:NAME}.',
          allowed:
            'letters, digits and "._-/" with the placeholders {vmName} {vmId} {scaleSet} {tag:NAME}; no part that is empty, ".", "..", sets, reports, drill or holds',
        }),
      )
      .default('{vmName}'),
    sets: z
      .array(CheckpointSet)
      .default([])
      .meta({ description: 'What is saved.', 'x-allowed': 'a list of sets' }),
    background: Background.prefault({}).meta({
      description: 'Staging between notices, so that a notice finds little left to send; false turns it off.',
      'x-allowed': 'false, or a map with interval, idle and maxRate',
    }),
    every: duration({
      description:
        'Also commit on this schedule; for sets whose files are replaced atomically. Default: off.',
      min: '10s',
      max: '7d',
    })
      .optional()
      .meta({ 'x-example': '10m' }),
    onShutdown: flag(
      'Take a last checkpoint when the machine is shut down without a notice (under systemd; 90 s at most).',
    ).default(true),
    keep: Keep.default(5),
  })
  .superRefine(({ sets }, context) => {
    for (const { inner, outer, at } of nestedSets(sets)) {
      context.addIssue({
        code: 'custom',
        path: ['sets', at, 'path'],
        message: `inside the folder of the set "${outer}" (${inner}), so that each would restore over the other`,
        params: { allowed: 'folders of which none is in another; exclude part of one set, or make both one' },
      });
    }
  })
  .meta({ description: 'Checkpoints. Without this section evictd only runs hooks and acknowledges.' });
export type Checkpoint = z.output<typeof Checkpoint>;
export type StoreConfig = Checkpoint['store'];

const SIMPLE_PLACEHOLDERS = ['{vmName}', '{vmId}', '{scaleSet}'];

function placeholderHint(template: string): string {
  const unknown = template.replaceAll(PLACEHOLDERS, '').match(/\{[^{}]*\}/)?.[0];
  const near = unknown === undefined ? undefined : nearest(unknown, SIMPLE_PLACEHOLDERS);
  return near === undefined ? '' : `; did you mean ${near}?`;
}

function isKeyTemplate(template: string): boolean {
  const filled = template.replaceAll(PLACEHOLDERS, 'x');
  return (
    template.length <= 256 &&
    filled
      .split('/')
      .every((part) => /^[A-Za-z0-9._-]+$/.test(part) && !/^\.+$/.test(part) && !RESERVED.has(part))
  );
}

/** What evictd has right below a key; no key may lead into another one's. */
const RESERVED: ReadonlySet<string> = new Set(['sets', 'reports', 'drill', 'holds']);

/** A set inside of another one's folder; two sets with the same folder are named once. */
function nestedSets(sets: readonly { readonly name: string; readonly path: string }[]) {
  const folders = sets.map(({ name, path }, at) => ({
    name,
    at,
    folder: `${normalize(path).replace(/\/+$/, '')}/`,
  }));
  return folders.flatMap((inner) =>
    folders
      .filter((outer) => outer !== inner && inner.folder.startsWith(outer.folder))
      .filter((outer) => outer.folder !== inner.folder || outer.at < inner.at)
      .map((outer) => ({ inner: inner.name, outer: outer.name, at: inner.at })),
  );
}
