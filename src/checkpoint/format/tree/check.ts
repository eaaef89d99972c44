import type { Entry } from '../entry.ts';
import { entryProblem } from '../entry-problem.ts';
import { createPathMarks } from './path-marks.ts';
import { quotePath, splitPath } from '../../../base/files/path-name.ts';
import { comparePaths } from '../path-order.ts';

/**
 * Looks at the entries of a tree in order. Answers why the next one can't be there, or undefined.
 * `isWhole`: all entries are shown. Otherwise an entry may be below a folder, or be a link to a file, that isn't.
 */
export function createTreeCheck(isWhole: boolean): (entry: Entry) => string | undefined {
  let before: string | undefined;
  /** Those that the last entry is in (or is), outermost first. */
  const folders: string[] = [];
  const files = createPathMarks();
  return (entry) => {
    const { path } = entry;
    const problem = entryProblem(entry);
    if (problem !== undefined) return problem;
    if (before !== undefined && comparePaths(before, path) >= 0) {
      return `it does not come after ${quotePath(before)}`;
    }
    let folder = folders.at(-1);
    while (folder !== undefined && !isBelow(path, folder)) {
      folders.pop();
      folder = folders.at(-1);
    }
    // A file or a link as somebody's parent would lead what is below it to another place.
    const isInFolder = path.lastIndexOf('/') === (folder ?? '').length - (folder === undefined ? 1 : 0);
    if (!isInFolder && (isWhole || isBelow(path, before))) {
      return `${quotePath(splitPath(path).folder)}, which holds it, is no folder before it`;
    }
    before = path;
    if (entry.type === 'directory') folders.push(path);
    else if (!isWhole) return undefined;
    else if (entry.type === 'file') files.add(path);
    else if (entry.type === 'hardlink' && !files.has(entry.target)) {
      return `it is a hard link to ${quotePath(entry.target)}, which is no file before it`;
    }
    return undefined;
  };
}

function isBelow(path: string, folder: string | undefined): boolean {
  return folder !== undefined && path.startsWith(folder) && path.charCodeAt(folder.length) === 0x2f;
}
