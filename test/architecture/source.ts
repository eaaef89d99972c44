import { glob, readFile } from 'node:fs/promises';
import { dirname, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface Source {
  /** From the top of the repository, `src/core/event.ts`. */
  readonly path: string;
  readonly text: string;
  /** The text with the contents of comments and strings blanked out; same lines and columns. */
  readonly code: string;
}

export interface Import {
  /** As written. */
  readonly specifier: string;
  /** From the top of the repository; undefined for packages and Node's own modules. */
  readonly target: string | undefined;
  readonly line: number;
  /** Erased at run time, or only run when it is asked for. */
  readonly isTypeOnly: boolean;
  readonly isDynamic: boolean;
  /** What of it is imported as a value, by its own name; undefined: all of it. */
  readonly names: readonly string[] | undefined;
}

export async function readSources(...patterns: readonly string[]): Promise<readonly Source[]> {
  const paths: string[] = [];
  for await (const path of glob(patterns, { cwd: ROOT })) paths.push(path);
  return Promise.all(
    paths.toSorted().map(async (path) => sourceOf(path, await readFile(`${ROOT}/${path}`, 'utf8'))),
  );
}

export function sourceOf(path: string, text: string): Source {
  return { path, text, code: blankOut(text) };
}

/** All ways to name another module: static, type-only, re-export, for side effects, dynamic, in a type position. */
export function importsOf({ path, text, code }: Source): readonly Import[] {
  const statement = /\b(?:(import|export)(\s+type)?\b[^'"`;=()]*?(?:\bfrom\s*)?|(import)\s*\(\s*)(['"])/g;
  return [...code.matchAll(statement)].flatMap((match) => {
    const [whole, keyword, type, dynamic] = match;
    // `export const x = 'a'` has a string too, but no `from` before it.
    if (keyword === 'export' && !/\bfrom\s*['"]$/.test(whole)) return [];
    const start = match.index + whole.length;
    const specifier = text.slice(start, text.indexOf(text[start - 1] ?? "'", start));
    const target = specifier.startsWith('.') ? posix.join(dirname(path), specifier) : undefined;
    return [
      {
        specifier,
        target,
        line: lineAt(code, match.index),
        isTypeOnly: type !== undefined,
        isDynamic: dynamic !== undefined,
        names: namesIn(whole),
      },
    ];
  });
}

/** `import { a, type B, c as d } from '` → `a`, `c`. */
function namesIn(statement: string): readonly string[] | undefined {
  const list = /^\w+\s*\{([^}]*)\}\s*from\s*['"]$/.exec(statement)?.[1];
  return list
    ?.split(',')
    .map((name) => name.trim().replace(/\s+as\s.*$/s, ''))
    .filter((name) => name !== '' && !name.startsWith('type '));
}

export function lineAt(text: string, index: number): number {
  return text.slice(0, index).split('\n').length;
}

/**
 * Blanks what is between quotes and in comments, so that rules see code only.
 * A template's inserted expressions are kept; a regular expression is told from a division by what stands before it.
 */
export function blankOut(text: string): string {
  const token =
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|(?<=[(,=:[!&|?{};\n>]\s*|\breturn\s+)\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*|`|[{}]/g;
  const blank = (part: string) => part.replaceAll(/[^\n]/g, ' ');
  let result = '';
  let position = 0;
  // For each open `${`, how many braces are open inside of it.
  const insertions: number[] = [];
  for (token.lastIndex = 0; position < text.length;) {
    token.lastIndex = position;
    const match = token.exec(text);
    if (match === null) return result + text.slice(position);
    const [found] = match;
    result += text.slice(position, match.index);
    position = match.index + found.length;
    const depth = insertions.at(-1);
    if (found === '{' || found === '}') {
      result += found;
      if (depth === undefined) continue;
      if (found === '{') insertions[insertions.length - 1] = depth + 1;
      else if (depth > 0) insertions[insertions.length - 1] = depth - 1;
      else {
        insertions.pop();
        [result, position] = skipTemplate(text, position, result, insertions, blank);
      }
    } else if (found === '`') {
      [result, position] = skipTemplate(text, position, `${result}\``, insertions, blank);
    } else if (found.startsWith("'") || found.startsWith('"')) {
      result += `${found[0]}${blank(found.slice(1, -1))}${found[0]}`;
    } else result += blank(found);
  }
  return result;
}

/** From inside of a template to its end or its next `${`. */
function skipTemplate(
  text: string,
  start: number,
  before: string,
  insertions: number[],
  blank: (part: string) => string,
): [string, number] {
  const end = /(?:\\[\s\S]|\$(?!\{)|[^\\`$])*(`|\$\{)?/y;
  end.lastIndex = start;
  const match = end.exec(text);
  const [whole = '', closing = ''] = match ?? [];
  if (closing === '${') insertions.push(0);
  return [before + blank(whole.slice(0, whole.length - closing.length)) + closing, start + whole.length];
}
