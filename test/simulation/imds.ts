import { EvictdError } from '../../src/base/errors.ts';
import type { Question } from '../../src/imds/transport.ts';
import type { Agenda } from './agenda.ts';
import { type Doors, type GuestProcess, WALL_EPOCH } from './guest.ts';
import type { Random } from './random.ts';

/** A scheduled event as it comes and goes. Times in ms. */
export interface SimulatedEvent {
  readonly id: string;
  readonly type: string;
  readonly resources: readonly string[];
  readonly source: 'Platform' | 'User';
  readonly announcedAt: number;
  readonly notBefore: number;
  startsAt: number;
  goneAt: number;
}

/** An answer that a process has got. */
export interface SimulatedDocument {
  readonly events: readonly SimulatedEvent[];
  /** Those whose status it says is Started. */
  readonly started: ReadonlySet<string>;
  /** Its header has whole seconds. */
  readonly date: number;
  readonly askedAt: number;
}

export interface ImdsOptions {
  readonly events: SimulatedEvent[];
  readonly vmName: string;
  /** How likely a request goes wrong. */
  readonly trouble: () => number;
  readonly onDocument: (process: GuestProcess, document: SimulatedDocument) => void;
  /** The program sends it; whether it arrives is another matter. */
  readonly onAckSent: (process: GuestProcess, eventId: string) => void;
  readonly onAckTaken: (event: SimulatedEvent) => void;
  readonly onAckAnswered: (process: GuestProcess, eventId: string) => void;
}

export type Imds = Pick<Doors, 'ask'>;

type Reply = { readonly status: number; readonly text: string; readonly delivered?: () => void };

/** The metadata service: the rules of learn.microsoft.com/azure/virtual-machines/linux/scheduled-events, and its moods. */
export function createImds(
  options: ImdsOptions,
  { agenda, random }: { readonly agenda: Agenda; readonly random: Random },
): Imds {
  const visible = () =>
    options.events.filter(({ announcedAt, goneAt }) => announcedAt <= agenda.now() && agenda.now() < goneAt);

  function reply(
    process: GuestProcess,
    { method, path, body }: Question,
    mood: Mood,
    askedAt: number,
  ): Reply {
    if (path.includes('/instance/')) return { status: 200, text: instanceDocument(options.vmName) };
    if (method === 'POST') return acknowledge(process, body ?? '');
    // For a moment the service seems to know of nothing.
    const events = mood === 'blank' ? [] : visible();
    const date = agenda.now();
    const started = new Set(events.filter(({ startsAt }) => date >= startsAt).map(({ id }) => id));
    return {
      status: 200,
      text: document(events, date),
      delivered: () =>
        options.onDocument(process, { events, started, date: Math.floor(date / 1000) * 1000, askedAt }),
    };
  }

  function acknowledge(process: GuestProcess, body: string): Reply {
    const id = /"EventId":"([^"]+)"/.exec(body)?.[1] ?? '';
    const event = visible().find((one) => one.id === id);
    if (event === undefined) return { status: 400, text: 'unknown event' };
    // What has started can be acknowledged again; it makes no difference.
    event.startsAt = Math.min(event.startsAt, agenda.now());
    options.onAckTaken(event);
    return { status: 200, text: '', delivered: () => options.onAckAnswered(process, id) };
  }

  return {
    ask(process, question, timeoutMs, signal) {
      if (question.method === 'POST') {
        options.onAckSent(process, /"EventId":"([^"]+)"/.exec(question.body ?? '')?.[1] ?? '');
        process.doors.crashPoint(process, 'before the ack');
      }
      return new Promise((resolve, reject) => {
        const askedAt = agenda.now();
        const mood = random.chance(options.trouble()) ? random.pick(MOODS) : 'good';
        const slow = mood === 'late' ? random.between(500, 6000) : random.between(1, 30);
        let isOver = false;
        const end = (settle: () => void) => {
          isOver = true;
          timer[Symbol.dispose]();
          signal.removeEventListener('abort', onAbort);
          settle();
        };
        const refuse = (code: string) => end(() => reject(new EvictdError(code, `simulated: ${code}`)));
        const timer = process.clock.timer(timeoutMs, () => refuse('imds-timeout'));
        const onAbort = () => refuse('aborted');
        signal.addEventListener('abort', onAbort, { once: true });
        if (signal.aborted) return onAbort();
        agenda.after(slow / 2, () => {
          if (mood === 'lost') return;
          if (mood === 'reset') return void process.clock.timer(1, () => refuse('imds-unreachable'));
          const date = agenda.now();
          const { status, text, delivered } = spoiled(mood, () => reply(process, question, mood, askedAt));
          if (mood === 'answer lost') return;
          process.clock.timer(slow / 2, () => {
            // Nobody waits for it any more, after the timeout or the abort.
            if (isOver) return;
            delivered?.();
            const headersAt = process.clock.monotonicMs();
            const body = Buffer.from(text);
            end(() => resolve({ status, date: httpDate(date), headersAt, body }));
          });
        });
      });
    },
  };
}

const MOODS = [
  'late',
  'late',
  'lost',
  'reset',
  'answer lost',
  'busy',
  'gone',
  'updating',
  'throttled',
  'error',
  'page',
  'empty',
  'half',
  'blank',
] as const;

type Mood = (typeof MOODS)[number] | 'good';

const STATUS: Readonly<Partial<Record<Mood, number>>> = {
  busy: 503,
  gone: 404,
  updating: 410,
  throttled: 429,
  error: 500,
};

function spoiled(mood: Mood, reply: () => Reply): Reply {
  const status = STATUS[mood];
  if (status !== undefined) return { status, text: '' };
  if (mood === 'page') return { status: 200, text: '<html>please log in</html>' };
  const good = reply();
  if (mood === 'empty') return { status: good.status, text: '' };
  if (mood === 'half') return { status: good.status, text: good.text.slice(0, good.text.length / 2) };
  return good;
}

function document(events: readonly SimulatedEvent[], now: number): string {
  return JSON.stringify({
    DocumentIncarnation: Math.floor(now / 1000) % 1000,
    Events: events.map(({ id, type, resources, source, notBefore, startsAt }) => ({
      EventId: id,
      EventType: type,
      EventStatus: now >= startsAt ? 'Started' : 'Scheduled',
      ResourceType: 'VirtualMachine',
      Resources: resources,
      EventSource: source,
      NotBefore: now >= startsAt ? '' : httpDate(notBefore),
      Description: '',
      DurationInSeconds: -1,
    })),
  });
}

function instanceDocument(name: string): string {
  return JSON.stringify({
    name,
    vmId: `id of ${name}`,
    vmScaleSetName: 'fleet',
    location: 'world',
    zone: '1',
  });
}

/** Of the service's clock, which is the world's. */
function httpDate(ms: number): string {
  return new Date(WALL_EPOCH + ms).toUTCString();
}
