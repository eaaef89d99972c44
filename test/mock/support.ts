import { request } from 'node:http';

/** One request with exactly these headers. */
export function ask(
  base: string,
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string; metadata?: boolean } = {},
): Promise<{ status: number; headers: Record<string, unknown>; text: string }> {
  const { method = 'GET', headers = {}, body, metadata = true } = options;
  return new Promise((resolve, reject) => {
    const outgoing = request(
      `${base}${path}`,
      {
        method,
        agent: false,
        headers: { ...(metadata ? { Metadata: 'true' } : {}), ...headers },
        signal: AbortSignal.timeout(10_000),
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => (text += chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
        );
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** The events document, as a client of the current version gets it. */
export async function askEvents(base: string, version = '2020-07-01') {
  const { status, text, headers } = await ask(base, `/metadata/scheduledevents?api-version=${version}`);
  // The shape is what these tests are about.
  const document = JSON.parse(text) as { DocumentIncarnation: number; Events: Record<string, unknown>[] };
  return { status, headers, ...document };
}

export function deadline(): AbortSignal {
  return AbortSignal.timeout(10_000);
}
