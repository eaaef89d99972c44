import * as z from 'zod';

import { tryParseJson } from '../base/json.ts';

const LogLine = z.looseObject({ level: z.string(), time: z.string(), msg: z.string() });

/** A line of the log as people read it: `00:17:00.390 warn  event not acknowledged  reason=unsuccessful …`. */
export function readableLine(line: string): string {
  const parsed = LogLine.safeParse(tryParseJson(line));
  // The output of something else, or cut.
  if (!parsed.success) return line;
  const { level, time, msg, ...fields } = parsed.data;
  const said = Object.entries(fields).map(([name, value]) => `${name}=${readableValue(value)}`);
  return [`${time.slice(11, 23)} ${level.padEnd(5)} ${msg}`, ...said].join('  ');
}

function readableValue(value: unknown): string {
  return typeof value === 'string' && /^[^\s"]+$/.test(value) ? value : JSON.stringify(value);
}
