import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';

import type { Command } from '../../src/cli/command.ts';
import { runProgram } from '../../src/cli/program.ts';
import { COMMANDS } from '../../src/cli/table.ts';
import { configJsonSchema } from '../../src/config/json-schema.ts';
import { capture } from '../cli/support.ts';
import { loadText } from './support.ts';

function document(path: string): Promise<string> {
  return readFile(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');
}

function yamlBlocks(markdown: string): readonly string[] {
  return [...markdown.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, block]) => block ?? '');
}

/** Prose has one space after its #; anything else is an example that is switched off. */
function switchedOn(config: string): string {
  return config.replaceAll(/^#(?! \S)/gm, '');
}

const isValid = new Ajv2020({ strict: false }).compile(configJsonSchema());

async function expectGood(text: string): Promise<void> {
  const config = text.replace('ACCOUNT.blob', 'account.blob').replace('net/CONTAINER', 'net/container');
  const { warnings } = await loadText(config);
  expect(warnings).toEqual([]);
  isValid(parse(config));
  // What editors would underline.
  expect(isValid.errors ?? []).toEqual([]);
}

describe('the configuration', () => {
  test.for(['README.md', 'packaging/hooks/README.md'])('that %s shows is valid', async (path) => {
    const blocks = yamlBlocks(await document(path));
    expect(blocks.length).toBeGreaterThan(0);
    for (const block of blocks) await expectGood(block);
  });

  test('that the packages bring is valid, as it is and with its examples switched on', async () => {
    const config = await document('packaging/files/config.yaml');
    await loadText(config);
    const examples = switchedOn(config);
    expect(parse(examples)).toMatchObject({ hooks: [{}], checkpoint: { sets: [{}] } });
    await expectGood(examples);
  });
});

describe('the command line', () => {
  test('of each example in README.md, in the help and the documents is right', async () => {
    const texts = [
      await document('README.md'),
      await document('systemd/README.md'),
      await document('packaging/files/config.yaml'),
      ...COMMANDS.map(({ manual }) => manual ?? ''),
    ];
    const lines = texts.flatMap((text) =>
      [...text.matchAll(/^ {2,}(evictd .*)$/gm)].map(([, line]) => line ?? ''),
    );
    expect(lines.length).toBeGreaterThan(15);
    const wrong: string[] = [];
    for (const line of lines) {
      for (const call of callsIn(line)) {
        const { code, err } = await parseOnly(call);
        if (code !== 0) wrong.push(`${line}: ${err}`);
      }
    }
    expect(wrong).toEqual([]);
  });
});

/** The calls of evictd in a line of shell, without its comment. */
function callsIn(line: string): readonly (readonly string[])[] {
  return (line.split(/ #/)[0] ?? '')
    .split(/&&|\||&/)
    .map((part) => part.trim().split(/\s+/))
    .flatMap(([program, ...args]) => (program === 'evictd' ? [args] : []));
}

/** Does the command line reach a command, which does nothing here? */
async function parseOnly(args: readonly string[]): Promise<{ readonly code: number; readonly err: string }> {
  const commands = COMMANDS.map((command): Command => ({ ...command, run: async () => 0 }));
  const err = capture();
  const surroundings = { env: {}, out: capture(), err, signal: new AbortController().signal };
  return { code: await runProgram(commands, args, surroundings), err: err.text() };
}
