import { systemClock } from '../base/clock.ts';
import { formatCount, formatSize } from '../base/units.ts';
import type { Entry } from '../checkpoint/format/entry.ts';
import type { Manifest, NamedPaths } from '../checkpoint/format/manifest.ts';
import type { TreeEntry } from '../checkpoint/format/tree/tree.ts';
import type { DescribedCheckpoint, PackTotals } from '../checkpoint/retention/show.ts';
import { ONE_SET_OPTION, STORE_OPTIONS, idArgument, onlySetOf } from './checkpoints-set.ts';
import { checkpointId } from './options.ts';
import { type Command, EXIT, type Output } from './command.ts';
import { shownText } from '../base/shown.ts';
import { openStoredPlace } from './stored-place.ts';

export const checkpointsShowCommand: Command = {
  name: 'checkpoints show',
  summary: 'show what is in a checkpoint, and what of the store it needs',
  description:
    'Then all its entries in the order of their paths: mode, owner, size, time (UTC) and path. Extended attributes, ' +
    'ACLs and file capabilities are not in checkpoints. With --json one object, whose `entries` come last.\n\n' +
    'Exit code 3 when there is no such checkpoint.',
  positionals: [idArgument('id', 'of the checkpoint; default: the newest', false)],
  options: [{ name: 'summary', description: 'without the entries' }, ONE_SET_OPTION, ...STORE_OPTIONS],
  async run(invocation) {
    const { options, positionals, out, signal } = invocation;
    const { describeCheckpoint } = await import('../checkpoint/retention/show.ts');
    await using opened = await openStoredPlace(invocation, systemClock);
    const place = await onlySetOf(opened, invocation);
    const shown = await describeCheckpoint(place, checkpointId(positionals[0]), opened, signal);
    const isJson = options['json'] === true;
    const withEntries = options['summary'] !== true;
    if (isJson) await writeJson(place.key, shown, withEntries, out);
    else {
      out.write(summaryText(shown));
      if (withEntries) for await (const entry of shown.entries()) out.write(entryLine(entry));
    }
    return EXIT.done;
  },
};

async function writeJson(
  key: string,
  { manifest, sha256, bytes, data, metadata, holds, entries }: DescribedCheckpoint,
  withEntries: boolean,
  out: Output,
): Promise<void> {
  const held = holds.map(({ kind, by, since }) => ({ kind, by, since: new Date(since).toISOString() }));
  const { tree: _tree, packs: _packs, metadata: _names, hash, key: _key, ...rest } = manifest;
  const head = JSON.stringify({
    key,
    ...rest,
    hash: hash.name,
    sha256,
    manifestBytes: bytes,
    stored: { data, metadata },
    holds: held,
  });
  if (!withEntries) return out.write(`${head}\n`);
  out.write(`${head.slice(0, -1)},"entries":[`);
  let before = '\n';
  for await (const entry of entries()) {
    out.write(`${before}${JSON.stringify(entryJson(entry))}`);
    before = ',\n';
  }
  out.write('\n]}\n');
}

/** As --json shows it: without where its content lies. */
export function entryJson(entry: TreeEntry): object {
  const { type, path } = entry;
  const shown: Record<string, unknown> = { type, path };
  if ('mode' in entry) shown['mode'] = entry.mode;
  if ('uid' in entry) shown['uid'] = entry.uid;
  if ('gid' in entry) shown['gid'] = entry.gid;
  if ('mtimeNs' in entry) shown['mtimeNs'] = String(entry.mtimeNs);
  if ('size' in entry) shown['size'] = entry.size;
  if ('target' in entry) shown['target'] = entry.target;
  return shown;
}

function summaryText({ manifest, sha256, bytes, data, metadata, holds }: DescribedCheckpoint): string {
  const { set, id, createdAt, reason, writer, totals, parent, epoch, process, changing, lost, partial } =
    manifest;
  const lines: [string, string][] = [
    ['checkpoint', `${id} of ${set}, made ${createdAt} (${shownText(reason)})`],
    [
      'writer',
      `VM ${shownText(writer.vmName)} (${shownText(writer.vmId)}), epoch ${epoch}, process ${process}`,
    ],
    ['after', parent === null ? 'nothing' : `${parent.id}, sha256 ${parent.sha256}`],
    ['manifest', `${formatSize(bytes)}, sha256 ${sha256}`],
    [
      'holds',
      `${formatCount(totals.files, 'file')}, ${formatCount(totals.directories, 'folder')}, ` +
        `${formatCount(totals.links, 'link')}, ${formatSize(totals.bytes)}; ${formatSize(totals.bytesSent)} were sent for it`,
    ],
    ['content', packText(data)],
    ['metadata', packText(metadata)],
    ...partialLine(partial),
    ...namedLine('lost', lost),
    ...namedLine('changing', changing),
    ...holds.map(({ kind, by }): [string, string] => [
      kind === 'keep' ? 'kept' : 'restoring',
      by === '' ? 'by nobody knows whom' : `by ${shownText(by)}`,
    ]),
  ];
  return lines.map(([name, text]) => `${`${name}:`.padEnd(12)}${text}\n`).join('');
}

function packText({ packs, bytes, used }: PackTotals): string {
  return `${formatCount(packs, 'pack')} of ${formatSize(bytes)}, of which it needs ${formatSize(used)}`;
}

function partialLine(partial: Manifest['partial']): [string, string][] {
  if (partial === undefined) return [];
  const [older, absent] = [namedText(partial.older), namedText(partial.absent)];
  return [['partial', `its time ran out; as in the checkpoint before: ${older}; not in it: ${absent}`]];
}

function namedLine(name: string, named: NamedPaths): [string, string][] {
  return named.count === 0 ? [] : [[name, namedText(named)]];
}

function namedText({ count, paths }: NamedPaths): string {
  if (count === 0) return 'none';
  const more = count > paths.length ? ` and ${count - paths.length} more` : '';
  return `${count}: ${paths.map(shownText).join(', ')}${more}`;
}

const TYPE_LETTERS = { file: '-', directory: 'd', symlink: 'l', hardlink: '=' } as const;
const RIGHTS = ['r', 'w', 'x'] as const;

/** `-rw-r--r--  1000:1000   12.0 KiB  2026-01-01T00:00:00Z  path`. */
function entryLine(entry: Entry): string {
  const letter: string = TYPE_LETTERS[entry.type];
  const path = shownText(entry.path);
  if (entry.type === 'hardlink') return `${letter.padEnd(56)}  ${path} = ${shownText(entry.target)}\n`;
  const { mode, uid, gid, mtimeNs } = entry;
  const rights = Array.from({ length: 9 }, (_, bit) =>
    (mode >> (8 - bit)) & 1 ? RIGHTS[bit % 3] : '-',
  ).join('');
  const special = mode > 0o777 ? `+${(mode >> 9).toString(8)}` : '';
  const size = entry.type === 'file' ? formatSize(entry.size) : '';
  const target = entry.type === 'symlink' ? ` -> ${shownText(entry.target)}` : '';
  const columns = [
    `${letter}${rights}${special}`.padEnd(12),
    `${uid}:${gid}`.padEnd(11),
    size.padStart(9),
    timeText(mtimeNs),
  ];
  return `${columns.join(' ')}  ${path}${target}\n`;
}

/** Times in files may be of any year. */
function timeText(mtimeNs: bigint): string {
  const date = new Date(Number(mtimeNs / 1_000_000n));
  const year = Number.isNaN(date.getTime()) ? Number.NaN : date.getUTCFullYear();
  return (year >= 0 && year <= 9999 ? `${date.toISOString().slice(0, 19)}Z` : `${mtimeNs} ns`).padEnd(20);
}
