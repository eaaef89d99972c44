/** What lies on a simulated disk. Content is never changed in place: each write makes a new buffer. */
export interface Inode {
  readonly number: bigint;
  readonly kind: 'file' | 'folder' | 'link';
  mode: number;
  uid: number;
  gid: number;
  names: number;
  mtimeNs: bigint;
  ctimeNs: bigint;
  readonly birthtimeNs: bigint;
  content: Buffer;
  entries: Map<string, Inode>;
  readonly target: string;
  /** What a power cut can't take any more. */
  durable: { readonly content: Buffer; readonly entries: ReadonlyMap<string, Inode> };
}

const KIND_BITS = { file: 0o100000, folder: 0o040000, link: 0o120000 } as const;
const DEVICE = 42n;
const NOTHING = Buffer.alloc(0);

export function createInode(
  number: bigint,
  kind: Inode['kind'],
  mode: number,
  nowNs: bigint,
  target = '',
): Inode {
  return {
    number,
    kind,
    mode,
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
    names: 1,
    mtimeNs: nowNs,
    ctimeNs: nowNs,
    birthtimeNs: nowNs,
    content: NOTHING,
    entries: new Map(),
    target,
    durable: { content: NOTHING, entries: new Map() },
  };
}

/** What node:fs says of it, with or without `bigint`. */
export function statsOf(inode: Inode, isBig: boolean) {
  const mode = inode.mode | KIND_BITS[inode.kind];
  const kind = {
    isFile: () => inode.kind === 'file',
    isDirectory: () => inode.kind === 'folder',
    isSymbolicLink: () => inode.kind === 'link',
  };
  if (!isBig) {
    return { ...kind, mode, size: inode.content.length, nlink: inode.names, uid: inode.uid, gid: inode.gid };
  }
  return {
    ...kind,
    mode: BigInt(mode),
    nlink: BigInt(inode.names),
    uid: BigInt(inode.uid),
    gid: BigInt(inode.gid),
    size: BigInt(inode.content.length),
    atimeNs: inode.mtimeNs,
    mtimeNs: inode.mtimeNs,
    ctimeNs: inode.ctimeNs,
    birthtimeNs: inode.birthtimeNs,
    blocks: BigInt(Math.ceil(inode.content.length / 512)),
    ino: inode.number,
    dev: DEVICE,
  };
}

/** With all that is in it; content is never changed in place, so both have the same. */
export function copyInode(inode: Inode, copies = new Map<Inode, Inode>()): Inode {
  const known = copies.get(inode);
  if (known !== undefined) return known;
  const copy = { ...inode };
  copies.set(inode, copy);
  copy.entries = new Map([...inode.entries].map(([name, entry]) => [name, copyInode(entry, copies)]));
  copy.durable = { content: copy.content, entries: new Map(copy.entries) };
  return copy;
}

/** Everything below it is safe from now on. */
export function makeDurable(inode: Inode): void {
  inode.durable = { content: inode.content, entries: new Map(inode.entries) };
  for (const entry of inode.entries.values()) makeDurable(entry);
}

/** The power goes: of what no fsync has seen, each piece is there or not, and content is whole, old or torn. */
export function losePower(inode: Inode, isKept: () => boolean): void {
  const { durable } = inode;
  if (inode.content !== durable.content && !isKept()) {
    const torn = Buffer.alloc(inode.content.length);
    inode.content.copy(torn, 0, 0, torn.length >> 1);
    inode.content = isKept() ? durable.content : torn;
  }
  for (const name of new Set([...inode.entries.keys(), ...durable.entries.keys()])) {
    const entry = isKept() ? inode.entries.get(name) : durable.entries.get(name);
    if (entry === undefined) inode.entries.delete(name);
    else inode.entries.set(name, entry);
  }
  for (const entry of inode.entries.values()) losePower(entry, isKept);
  makeDurable(inode);
}
