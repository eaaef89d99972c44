import * as fc from 'fast-check';

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const BASE64URL = `${BASE64.slice(0, 62)}-_`;

function word(alphabet: string, minLength: number, maxLength = minLength): fc.Arbitrary<string> {
  return fc.string({ unit: fc.constantFrom(...alphabet.split('')), minLength, maxLength });
}

const accountKey = word(BASE64, 86).map((text) => `${text}==`);
const signature = word(BASE64, 43).map((text) => `${text}=`);
const opaque = word(BASE64URL, 24, 200);

/** A text with a secret in it. */
type Shape = fc.Arbitrary<{ text: string; secret: string }>;

function shape(secrets: fc.Arbitrary<string>, ...texts: ((secret: string) => string)[]): Shape {
  return fc
    .tuple(secrets, fc.constantFrom(...texts))
    .map(([secret, make]) => ({ secret, text: make(secret) }));
}

/** What secrets look like where they turn up. */
export const shapes: Record<string, Shape> = {
  'SAS signature': shape(
    signature.map(encodeURIComponent),
    (s) => `https://acct.blob.core.windows.net/c/b?sv=2024-11-04&se=2030&sr=c&sp=rw&sig=${s}`,
    (s) => `https://acct.blob.core.windows.net/c/b?sig=${s}&sv=2024-11-04`,
    (s) => `sv=2024-11-04&ss=b&sig=${s}`,
    (s) => JSON.stringify({ url: `http://127.0.0.1:10000/devstoreaccount1/c?sv=1&sig=${s}` }),
    (s) => JSON.stringify(JSON.stringify({ url: `https://a/b?sv=1&sig=${s}` })),
    (s) => String.raw`https://a/b?sv=1\u0026sig=${s}`,
    (s) => `next=https%3A%2F%2Fa%2Fc%3Fsig%3D${s}`,
    (s) => `SharedAccessSignature=sv=1&sig=${s};BlobEndpoint=https://a/`,
  ),
  'account key': shape(
    accountKey,
    (s) => s,
    (s) => `DefaultEndpointsProtocol=https;AccountName=a;AccountKey=${s};EndpointSuffix=core.windows.net`,
    (s) => JSON.stringify({ accountKey: s }),
    (s) => `{ account_key: '${s}' }`,
  ),
  'authorization header': shape(
    signature,
    (s) => `Authorization: SharedKey acct:${s}`,
    (s) => `authorization: [ 'SharedKeyLite acct:${s}' ]`,
    (s) => JSON.stringify({ headers: { authorization: `Custom one two ${s}` } }),
    (s) => `x-ms-copy-source-authorization: Bearer ${s}`,
    (s) => `["authorization", "SharedKey a:${s}"]`,
  ),
  token: shape(
    opaque,
    (s) => `Bearer ${s}`,
    (s) => `bearer   ${s}`,
    (s) => JSON.stringify({ access_token: s, expires_in: '3599' }),
    (s) => JSON.stringify(JSON.stringify({ access_token: s })),
    (s) => `{ accessToken: '${s}', other: 1 }`,
    (s) => `grant_type=x&client_secret=${s}&scope=y`,
    (s) => `"refresh_token" : "${s}"`,
  ),
  JWT: shape(
    fc
      .tuple(word(BASE64URL, 30), word(BASE64URL, 40), word(BASE64URL, 0, 43))
      .map(([a, b, c]) => `eyJ${a}.${b}.${c}`),
    (s) => s,
    (s) => `token ${s}`,
    (s) => `x=${s},`,
  ),
  'header with parts': shape(
    opaque,
    (s) => `Authorization: Digest username="x", realm="y", response="${s}"`,
    (s) => `Cookie: a=1; sid=${s}; b=2`,
    (s) => `Cookie: theme="dark"; sid="${s}"`,
    (s) => `< set-cookie: sid=${s}; Path=/; HttpOnly`,
    (s) => JSON.stringify({ headers: { 'Set-Cookie': `a=1; sid=${s}` } }),
    (s) => `X-Api-Key: ${s}`,
    (s) => `x-functions-key: ${s}`,
  ),
  'field of a configuration': shape(
    word(`${BASE64URL}$!%*(),;:^~ `, 24, 60).map((text) => `x${text.trim()}9`),
    (s) => `password="${s}"`,
    (s) => `password: '${s}'`,
    (s) => JSON.stringify({ db_password: s }),
    (s) => JSON.stringify(JSON.stringify({ secret: s })),
  ),
  'variable of an environment': shape(
    word(`${BASE64URL}$!%*(),;:^~`, 24, 60).map((text) => `x${text}9`),
    (s) => `DB_PASSWORD=${s}`,
    (s) => `GITHUB_TOKEN=${s}`,
    (s) => `AZURE_CLIENT_SECRET=${s}`,
    (s) => `curl -s https://ci.internal/?token=${s}`,
    (s) => `api_key=${s}`,
    (s) => `--api-key=${s}`,
    (s) => `export PGPASSWD=${s}`,
  ),
  "webhook's address": shape(
    opaque,
    (s) => `POST https://hooks.slack.com/services/T0AAA/B0BBB/${s} failed`,
    (s) => JSON.stringify({ url: `https://hooks.slack.com/workflows/T0/${s}` }).replaceAll('/', '\\/'),
    (s) => `https://contoso.webhook.office.com/webhookb2/${s}@1/IncomingWebhook/2/3`,
    (s) => `https://outlook.office.com/webhook/1@2/IncomingWebhook/${s}/3`,
    (s) => `https://prod-1.westeurope.logic.azure.com:443/workflows/a?api-version=1&sp=x&sv=1.0&sig=${s}`,
    (s) => `https://discord.com/api/webhooks/123/${s}`,
  ),
  'private key': shape(
    word(BASE64, 64),
    (s) => `-----BEGIN PRIVATE KEY-----\n${s}\n${s}\n-----END PRIVATE KEY-----`,
    (s) => `-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\n\r\n${s}\r\n`,
    (s) =>
      JSON.stringify({ key: `-----BEGIN OPENSSH PRIVATE KEY-----\n${s}\n-----END OPENSSH PRIVATE KEY-----` }),
    (s) => `-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n${s}\n-----END PGP PRIVATE KEY BLOCK-----`,
  ),
  'token of a forge': shape(
    opaque.map((text) => `ghp_${text}`),
    (s) => `cloned with ${s}`,
    (s) => `https://${s}@github.com/a/b`,
  ),
  'password in a URL': shape(opaque, (s) => `http://user:${s}@proxy.internal:8080/`),
};
