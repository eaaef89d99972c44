import type { WallMs } from '../base/clock.ts';
import { json, type MockAnswer } from './answer.ts';
import type { Scenario } from './schema.ts';

const TOKEN_API_VERSIONS = new Set(['2018-02-01', '2019-08-01', '2019-11-01', '2020-06-01']);
// As real tokens have it: valid a little before they were made, so that a slow clock elsewhere accepts them.
const NOT_BEFORE_SECONDS = 300;

/**
 * Answers /metadata/identity/oauth2/token with an unsigned JWT. Numbers are strings, as the service has them.
 * Source: learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
 */
export function answerToken(token: Scenario['token'], url: URL, now: WallMs): MockAnswer {
  const query = url.searchParams;
  const resource = query.get('resource') ?? '';
  if (!TOKEN_API_VERSIONS.has(query.get('api-version') ?? '')) {
    return invalid('the api-version is missing or unknown');
  }
  if (resource === '') return invalid('required query variable resource is missing');
  const asked = query.get('client_id') ?? query.get('object_id') ?? query.get('msi_res_id');
  const known = token.clientIds;
  if (known !== undefined && asked !== null && !known.includes(asked)) return invalid('Identity not found');
  if (known !== undefined && asked === null && known.length > 1) {
    return invalid('Multiple user assigned identities exist, please specify the clientId / resourceId');
  }
  const issuedAt = Math.floor(now / 1000);
  const expiresAt = issuedAt + Math.round(token.ttl / 1000);
  const claims = {
    aud: resource.replace(/\/$/, ''),
    iss: `https://sts.windows.net/${token.tenantId}/`,
    iat: issuedAt - NOT_BEFORE_SECONDS,
    nbf: issuedAt - NOT_BEFORE_SECONDS,
    exp: expiresAt,
    appid: asked ?? known?.[0] ?? 'system-assigned',
    tid: token.tenantId,
  };
  return json(200, {
    access_token: `${encode({ typ: 'JWT', alg: 'none' })}.${encode(claims)}.`,
    refresh_token: '',
    expires_in: String(expiresAt - issuedAt),
    expires_on: String(expiresAt),
    not_before: String(claims.nbf),
    resource,
    token_type: 'Bearer',
  });
}

function invalid(description: string): MockAnswer {
  return json(400, { error: 'invalid_request', error_description: description });
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
