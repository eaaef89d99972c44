import { describe, expect, test } from 'vitest';

import {
  checkAssertions,
  checkBans,
  checkDisabledRules,
  checkFileNames,
  checkLeftovers,
  checkTests,
} from './habits.ts';
import { checkCycles, checkImportTable, checkRooms, checkStart } from './import-table.ts';
import { checkNetwork } from './network.ts';
import { blankOut, importsOf, sourceOf } from './source.ts';

function targets(text: string, path = 'src/imds/client.ts') {
  return importsOf(sourceOf(path, text)).map(({ specifier }) => specifier);
}

describe('reading sources', () => {
  test('finds every form of import', () => {
    expect(
      targets(`
        import { a } from '../base/a.ts';
        import type { B } from "./b.ts";
        import {
          c,
          type D,
        } from './c.ts';
        import './effect.ts';
        import * as z from 'zod';
        export { e } from './e.ts';
        export * from './f.ts';
        export type { G } from './g.ts';
        const later = await import('./later.ts');
        type H = import('./h.ts').H;
      `),
    ).toEqual([
      '../base/a.ts',
      './b.ts',
      './c.ts',
      './effect.ts',
      'zod',
      './e.ts',
      './f.ts',
      './g.ts',
      './later.ts',
      './h.ts',
    ]);
  });

  test('takes nothing in comments and strings for an import', () => {
    expect(
      targets(
        `// import { a } from './a.ts';\n/* import './b.ts' */\nconst c = "import './c.ts'";\nexport const d = 'e';`,
      ),
    ).toEqual([]);
  });

  test('resolves imports from the top of the repository', () => {
    const [found] = importsOf(sourceOf('src/imds/client.ts', `import { a } from '../base/a.ts';`));
    expect(found).toMatchObject({ target: 'src/base/a.ts', line: 1 });
  });

  test('blanks comments, strings and templates, but not what is inserted into them', () => {
    const code = blankOut('a(\'x\'); // y\nb(`u${c({ d: `v${e}` })}w`); /* f\n */ g("h\\"i", /[/"]j/);');
    for (const kept of ['a(', 'b(', 'c({ d:', 'e}', 'g(']) expect(code).toContain(kept);
    for (const gone of ['x', 'y', 'u', 'v', 'w', 'f', 'h', 'i', 'j']) expect(code).not.toContain(gone);
    expect(code.split('\n')).toHaveLength(3);
  });
});

describe('the import table', () => {
  test.each([
    ['src/base/a.ts', '../core/b.ts', 'it may import nothing'],
    ['src/core/a.ts', '../imds/b.ts', 'it may import src/base'],
    ['src/core/a.ts', 'node:fs', 'it is pure'],
    ['src/core/a.ts', 'zod', 'it is pure'],
    ['src/imds/a.ts', '../hooks/b.ts', 'it may import src/base, src/core'],
    ['src/config/a.ts', '../daemon/b.ts', 'src/config imports src/daemon/b.ts'],
    ['src/daemon/a.ts', '../cli/b.ts', 'src/daemon imports src/cli/b.ts'],
    ['src/cli/a.ts', '../main.ts', 'src/cli imports src/main.ts'],
    ['src/utilities/a.ts', './b.ts', 'src/utilities is not in the import table'],
    ['src/imds/a.ts', '../../test/b.ts', 'outside of src'],
  ])('refuses %s importing %s', (path, specifier, why) => {
    const problems = checkImportTable([sourceOf(path, `\nimport type { B } from '${specifier}';`)]);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(why);
  });

  test('names file and line', () => {
    const [problem] = checkImportTable([sourceOf('src/imds/a.ts', `\n\nimport { b } from '../hooks/b.ts';`)]);
    expect(problem).toMatch(/^src\/imds\/a\.ts:3: /);
  });

  test.each([
    ['src/core/a.ts', '../base/b.ts'],
    ['src/imds/a.ts', '../core/b.ts'],
    ['src/imds/a.ts', './b.ts'],
    ['src/imds/a.ts', 'zod'],
    ['src/daemon/a.ts', '../imds/b.ts'],
    ['src/cli/a.ts', '../daemon/b.ts'],
    ['src/main.ts', './cli/table.ts'],
  ])('allows %s importing %s', (path, specifier) => {
    expect(checkImportTable([sourceOf(path, `import { b } from '${specifier}';`)])).toEqual([]);
  });

  test('finds a circle of imports, also of types', () => {
    const problems = checkCycles([
      sourceOf('src/core/a.ts', `import { b } from './b.ts';`),
      sourceOf('src/core/b.ts', `import type { C } from './c.ts';`),
      sourceOf('src/core/c.ts', `import { a } from './a.ts';`),
    ]);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain('src/core/a.ts → src/core/b.ts → src/core/c.ts → src/core/a.ts');
  });

  test('takes two ways to one file for no circle', () => {
    const problems = checkCycles([
      sourceOf('src/core/a.ts', `import './b.ts';\nimport './c.ts';`),
      sourceOf('src/core/b.ts', `import './c.ts';`),
      sourceOf('src/core/c.ts', ''),
    ]);
    expect(problems).toEqual([]);
  });
});

describe('the table of rooms', () => {
  test.each([
    ['src/checkpoint/format/a.ts', "import { b } from '../store/b.ts';", 'it may import itself'],
    ['src/checkpoint/commit/a.ts', "import { b } from '../pack/b.ts';", 'imports values of'],
    ['src/checkpoint/commit/a.ts', "import { type B } from '../worker/b.ts';", 'imports values of'],
    ['src/checkpoint/pack/a.ts', "import type { B } from '../worker/b.ts';", 'it may import itself, format'],
    ['src/checkpoint/scan/a.ts', "import { b } from '../b.ts';", 'is in no room'],
    ['src/checkpoint/scan/a.ts', "const b = await import('../b.ts');", 'is in no room'],
    ['src/checkpoint/cellar/a.ts', "import { b } from '../../base/b.ts';", 'not in the table of rooms'],
  ])('refuses in %s: %s', (path, text, why) => {
    const problems = checkRooms([sourceOf(path, text)]);
    expect(problems).toEqual([expect.stringContaining(why)]);
  });

  test.each([
    ['src/checkpoint/pack/a.ts', "import { b } from '../format/b.ts';"],
    ['src/checkpoint/pack/a.ts', "import { b } from './b.ts';"],
    ['src/checkpoint/commit/a.ts', "import type { B } from '../worker/b.ts';"],
    ['src/checkpoint/format/a.ts', "import { b } from '../../base/b.ts';\nimport 'zod';"],
    ['src/checkpoint/a.ts', "import { b } from './restore/b.ts';"],
    ['src/daemon/a.ts', "import { b } from '../checkpoint/restore/b.ts';"],
  ])('allows in %s: %s', (path, text) => {
    expect(checkRooms([sourceOf(path, text)])).toEqual([]);
  });
});

describe('the network', () => {
  test.each([
    ['src/imds/a.ts', "import { connect } from 'node:net';", 'node:net'],
    ['src/imds/a.ts', "import { isIP, connect } from 'node:net';", 'node:net'],
    ['src/imds/a.ts', "import * as http from 'node:http';", 'node:http'],
    ['src/imds/a.ts', "import http from 'http';", 'http'],
    ['src/mock/client.ts', "const { request } = await import('node:https');", 'node:https'],
    ['src/checkpoint/a.ts', "const tls = process.getBuiltinModule('node:tls');", 'node:tls'],
    ['src/observe/a.ts', "import { request } from 'undici';", 'undici'],
    ['src/observe/a.ts', "import Pool from 'undici/lib/dispatcher/pool.js';", 'undici'],
    ['src/checkpoint/store/a.ts', "import { XMLParser } from 'fast-xml-parser';", 'fast-xml-parser'],
    ['src/checkpoint/store/a.ts', "import { createHmac } from 'node:crypto';", 'node:crypto'],
    ['src/observe/a.ts', 'const a = await fetch(url);', 'fetch'],
    ['src/observe/a.ts', 'const a = () => fetch(url);', 'fetch'],
    ['src/observe/a.ts', 'const { fetch: a } = globalThis;\nconst b = globalThis.fetch;', 'fetch'],
  ])('is not for %s: %s', (path, text, what) => {
    const problems = checkNetwork([sourceOf(path, text)]);
    expect(problems).toEqual([expect.stringContaining(what)]);
  });

  test.each([
    ['src/imds/a.ts', "import type { Socket } from 'node:net';"],
    ['src/imds/a.ts', "import { isIP, type Socket } from 'node:net';"],
    ['src/control/a.ts', "import { connect } from 'node:net';"],
    ['src/base/http.ts', "import Pool from 'undici/lib/dispatcher/pool.js';"],
    ['src/checkpoint/store/a.ts', "import { randomUUID } from 'node:crypto';"],
    ['src/checkpoint/format/chunk-id.ts', "import { createHmac } from 'node:crypto';"],
    ['src/checkpoint/a.ts', 'interface A {\n  fetch(a: B): Promise<C>;\n}\nawait a.fetch(b);'],
    ['src/checkpoint/a.ts', 'async function fetch(a: B) {}\nawait fetch(b);'],
    ['src/daemon/a.ts', '// fetch(url) or node:net would be wrong here.'],
  ])('is not touched by %s: %s', (path, text) => {
    expect(checkNetwork([sourceOf(path, text)])).toEqual([]);
  });
});

describe('the start', () => {
  const entry = sourceOf('src/main.ts', `import { a } from './cli/a.ts';`);

  test('may not load a package on the way of import statements', () => {
    const command = sourceOf('src/cli/a.ts', `import { type B } from 'pino';`);
    expect(checkStart([entry, command], 'src/main.ts', [])).toEqual([
      expect.stringContaining('src/main.ts → src/cli/a.ts → pino'),
    ]);
  });

  test('may load what is only asked for later, and types', () => {
    const command = sourceOf(
      'src/cli/a.ts',
      `import type { B } from 'pino';\nconst c = () => import('zod');`,
    );
    expect(checkStart([entry, command], 'src/main.ts', [])).toEqual([]);
  });
});

describe('habits', () => {
  test.each([
    ['src/imds/a.ts', 'const a = process.env.HOME;', 'process.env'],
    ['src/daemon/loop.ts', "const a = process['env'];", 'process.env'],
    ['src/daemon/a.ts', 'const a = Date.now();', 'the clock'],
    ['src/daemon/a.ts', 'const a = new Date();', 'the clock'],
    ['src/daemon/a.ts', 'const a = performance.now();', 'the clock'],
    ['src/hooks/a.ts', 'setTimeout(() => {}, 5);', 'a timer'],
    ['src/hooks/a.ts', 'const s = AbortSignal.timeout(5);', 'a timer'],
    ['src/hooks/a.ts', "import { setTimeout as t } from 'node:timers/promises';", 'timers/promises'],
    ['src/core/a.ts', 'const a = Math.random();', 'randomness'],
    ['src/daemon/a.ts', 'console.log(1);', 'console'],
    ['src/daemon/a.ts', "if (error.message === 'x') a();", 'message text'],
    ['src/daemon/a.ts', "if (error.message.includes('x')) a();", 'message text'],
    ['src/daemon/a.ts', 'const s = AbortSignal.any([a, b]);', 'AbortSignal.any'],
  ])('refuses in %s: %s', (path, text, what) => {
    const problems = checkBans([sourceOf(path, text)]);
    expect(problems.join('\n')).toContain(what);
    expect(problems[0]).toMatch(/^src\/[a-z]+\/[a-z]+\.ts:1: /);
  });

  test.each([
    ['src/main.ts', 'const a = process.env;'],
    ['src/base/clock.ts', 'setTimeout(f, Date.now());'],
    ['src/daemon/a.ts', 'const a = new Date(clock.wallMs());'],
    ['src/daemon/a.ts', '// Date.now() would be wrong here.\nconst a = "process.env";'],
    ['src/imds/a.ts', 'const a = Math.random();'],
    ['src/control/a.ts', 'socket.setTimeout(1000, end);'],
    ['src/daemon/a.ts', 'if (error.message !== last?.message) report(error);'],
  ])('allows in %s: %s', (path, text) => {
    expect(checkBans([sourceOf(path, text)])).toEqual([]);
  });

  test('finds notes to oneself in comments', () => {
    const word = ['TO', 'DO'].join('');
    expect(checkLeftovers([sourceOf('src/a.ts', `a();\n// ${word}: later`)])).toEqual([
      expect.stringContaining('src/a.ts:2'),
    ]);
    expect(checkLeftovers([sourceOf('src/a.ts', 'const mastodon = 1;')])).toEqual([]);
  });

  test('wants a reason where a lint rule is switched off', () => {
    const directive = ['oxlint', 'disable-next-line'].join('-');
    expect(checkDisabledRules([sourceOf('src/a.ts', `// ${directive} no-empty`)])).toHaveLength(1);
    expect(
      checkDisabledRules([sourceOf('src/a.ts', `// ${directive} no-empty -- nothing to close yet`)]),
    ).toEqual([]);
  });

  test('wants a comment beside a type assertion', () => {
    expect(checkAssertions([sourceOf('src/a.ts', 'const a = b as C;')])).toHaveLength(1);
    expect(checkAssertions([sourceOf('src/a.ts', 'const a = JSON.parse(b) as unknown;')])).toEqual([]);
    expect(checkAssertions([sourceOf('src/a.ts', 'const a = (b) as unknown as C;')])).not.toEqual([]);
    expect(
      checkAssertions([sourceOf('src/a.ts', '// The parser above made it one.\nconst a = b as C;')]),
    ).toEqual([]);
    expect(
      checkAssertions([
        sourceOf(
          'src/a.ts',
          "import { a as b } from './a.ts';\nimport * as z from 'zod';\nconst c = [1] as const;",
        ),
      ]),
    ).toEqual([]);
  });

  test('refuses file names that say nothing', () => {
    const names = ['src/imds/utils.ts', 'src/helpers/a.ts', 'src/imds/client.ts'];
    expect(checkFileNames(names.map((path) => sourceOf(path, '')))).toHaveLength(2);
  });

  test('refuses mocked modules in tests', () => {
    const call = ['vi', 'mock'].join('.');
    expect(checkTests([sourceOf('test/a.test.ts', `${call}('../src/a.ts');`)])).toHaveLength(1);
  });
});
