import { forEachLimit } from '../../base/concurrency.ts';
import { hasCode } from '../../base/errors.ts';
import { type KeyPlace, isReservedSegment, keyPrefix } from '../format/names.ts';
import { createOnce } from '../store/create-once.ts';
import { FOLDERS_MAX, astray, listAll, listFolders } from '../store/list-all.ts';
import type { BlobStore } from '../store/store.ts';

/** Where the reports of drains lie: `PREFIX/KEY/reports/EVENT-ID.json`, and the same as a page in `.html`. */
const REPORTS = 'reports/';

export interface ReportFile {
  readonly extension: 'json' | 'html';
  readonly contentType: string;
  readonly body: Uint8Array;
}

export interface StoredReport {
  readonly key: string;
  /** As its file is called. */
  readonly eventId: string;
  /** Epoch ms by the server's clock. */
  readonly modifiedAt: number;
}

const REPORT_BYTES_MAX = 4 * 1024 * 1024;
const IN_FLIGHT = 8;
/** Keys of VMs in scale sets in regions: nobody nests deeper. */
const KEY_SEGMENTS_MAX = 8;
/** A drain writes its report a few times. */
const NAMES_MAX = 9;

/**
 * Writes the files of a report; the newest of an event stands. Where nothing can be overwritten it gets a name of its
 * own: `EVENT-ID-2`, and so on. Rejects with the store's errors.
 */
export async function writeReport(
  store: BlobStore,
  place: KeyPlace,
  eventId: string,
  files: readonly ReportFile[],
  signal: AbortSignal,
): Promise<void> {
  await Promise.all(files.map((file) => writeFile(store, place, eventId, file, signal)));
}

async function writeFile(
  store: BlobStore,
  place: KeyPlace,
  eventId: string,
  { extension, contentType, body }: ReportFile,
  signal: AbortSignal,
): Promise<void> {
  for (let count = 1; ; count++) {
    const name = reportName(place, count === 1 ? eventId : `${eventId}-${count}`, extension);
    try {
      if ((await createOnce(store, name, body, { contentType }, signal)).outcome !== 'other') return;
      return await store.replace(name, body, { contentType }, signal);
    } catch (error) {
      if (!hasCode(error, 'immutable') || count === NAMES_MAX) throw error;
    }
  }
}

/** The text of a report's JSON. Rejects `not-found` and the store's other errors. */
export async function readReport(
  store: BlobStore,
  place: KeyPlace,
  eventId: string,
  signal: AbortSignal,
): Promise<string> {
  const name = reportName(place, eventId, 'json');
  return Buffer.from(await store.read(name, { bytesMax: REPORT_BYTES_MAX }, signal)).toString('utf8');
}

/** The reports below one key, in no order. */
export async function listReports(
  store: BlobStore,
  place: KeyPlace,
  signal: AbortSignal,
): Promise<StoredReport[]> {
  const below = `${keyPrefix(place)}${REPORTS}`;
  const reports: StoredReport[] = [];
  for await (const { name, modifiedAt } of listAll(store, below, signal)) {
    const eventId = /^([A-Za-z0-9_-]+)\.json$/.exec(name.slice(below.length))?.[1];
    if (eventId !== undefined) reports.push({ key: place.key, eventId, modifiedAt });
  }
  return reports;
}

/** Every key below the prefix that has reports. Looks at folders only, and never into a key's sets. */
export async function findReportKeys(
  store: Pick<BlobStore, 'folders'>,
  prefix: string,
  signal: AbortSignal,
): Promise<string[]> {
  const root = prefix === '' ? '' : `${prefix}/`;
  const keys: string[] = [];
  let level = [root];
  for (let depth = 0; depth <= KEY_SEGMENTS_MAX && level.length > 0; depth++) {
    const next: string[] = [];
    await forEachLimit(level, IN_FLIGHT, signal, async (folder, inner) => {
      const found = await listFolders(store, folder, inner);
      if (folder !== root && found.includes(REPORTS)) keys.push(folder.slice(root.length, -1));
      for (const name of found) if (!isReservedSegment(name.slice(0, -1))) next.push(folder + name);
    });
    if (next.length > FOLDERS_MAX) throw astray(prefix, 'has no end');
    level = next;
  }
  return keys.sort();
}

function reportName(place: KeyPlace, eventId: string, extension: string): string {
  return `${keyPrefix(place)}${REPORTS}${safeName(eventId)}.${extension}`;
}

/** Event ids are GUIDs; what claims to be one and isn't must not choose a path in the store. */
function safeName(eventId: string): string {
  return eventId.replaceAll(/[^A-Za-z0-9-]/g, '_').slice(0, 100);
}
