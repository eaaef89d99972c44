import type { Clock } from '../base/clock.ts';
import { PLAIN_HTTP, isLoopback } from '../base/loopback.ts';
import { sendUntilTaken } from '../base/send-until-taken.ts';
import { assertOneWord, badCredential, readSecretFile } from '../base/files/secret-file.ts';
import { shownText } from '../base/shown.ts';
import { CLOUD_EVENT_TYPE } from '../core/cloud-event.ts';
import { type DrainNews, details, headline, newsAsCloudEvent } from './drain-news.ts';

export type WebhookTemplate = 'cloudevents' | 'slack' | 'teams';

/** Tells one receiver; rejects with an EvictdError, at the latest when the signal aborts. */
export type Teller = (news: DrainNews, signal: AbortSignal) => Promise<void>;

/** The file is read each time: the URL may be replaced. Rejects `bad-credential`, `http-refused`, `http-failed`. */
export function createWebhook(
  options: { readonly urlFile: string; readonly template: WebhookTemplate },
  dependencies: { readonly clock: Clock; readonly random: () => number },
): Teller {
  const { urlFile, template } = options;
  return async (news, signal) => {
    const url = await readWebhookUrl(urlFile);
    const contentType = template === 'cloudevents' ? CLOUD_EVENT_TYPE : 'application/json; charset=utf-8';
    const message = {
      url: url.href,
      method: 'POST',
      headers: { 'content-type': contentType },
      body: JSON.stringify(webhookBody(template, news)),
      where: `the webhook of ${urlFile}`,
    } as const;
    await sendUntilTaken(message, dependencies, signal);
  };
}

/** Rejects `bad-credential`; messages name the file and never show what is in it. */
export async function readWebhookUrl(urlFile: string): Promise<URL> {
  const text = await readSecretFile(urlFile);
  const url = URL.parse(text);
  if (url === null || !/^https?:\/\//i.test(text)) {
    throw badCredential(
      `${urlFile} holds no http or https URL`,
      'write the URL of the webhook there, on one line',
    );
  }
  assertOneWord(text, urlFile);
  const unusable = (problem: string, remedy: string) =>
    badCredential(`the URL in ${urlFile} is not usable: ${problem}`, remedy);
  if (url.username !== '' || url.password !== '') {
    throw unusable('it has a user name or password, which no request carries', 'remove them');
  }
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) throw unusable(...PLAIN_HTTP);
  return url;
}

export function webhookBody(template: WebhookTemplate, news: DrainNews): unknown {
  switch (template) {
    case 'cloudevents':
      return newsAsCloudEvent(news);
    case 'slack':
      return { text: [`*${slackText(headline(news))}*`, ...details(news).map(slackText)].join('\n') };
    case 'teams':
      return adaptiveCard(news);
  }
}

/** Source: docs.slack.dev, "Formatting message text": these three are all that has to be escaped. */
function slackText(text: string): string {
  return shownText(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** A text block is Markdown. Source: adaptivecards.io, "Text features"; spec.commonmark.org, "Backslash escapes". */
function cardText(text: string): string {
  return shownText(text).replaceAll(/[\\`*_~[\]<>]/g, String.raw`\$&`);
}

/** Source: learn.microsoft.com, "Create incoming webhooks with Workflows for Microsoft Teams". */
function adaptiveCard(news: DrainNews) {
  const failed = news.outcome === 'failure';
  const text = (words: string, look: Readonly<Record<string, string>>) => ({
    type: 'TextBlock',
    text: cardText(words),
    wrap: true,
    ...look,
  });
  return {
    type: 'message',
    attachments: [
      {
        contentType: 'application/vnd.microsoft.card.adaptive',
        content: {
          $schema: 'http://adaptivecards.io/schemas/adaptive-card.json',
          type: 'AdaptiveCard',
          version: '1.4',
          body: [
            text(headline(news), {
              weight: 'Bolder',
              size: 'Medium',
              color: failed ? 'Attention' : 'Default',
            }),
            ...details(news).map((line) => text(line, { spacing: 'Small' })),
          ],
        },
      },
    ],
  };
}
