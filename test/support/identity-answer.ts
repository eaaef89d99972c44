/** What the identity endpoint of the metadata service answers for a token of a day: numbers are strings. */
export function identityAnswer(token: string, nowSeconds: number) {
  return {
    access_token: token,
    refresh_token: '',
    expires_in: '86400',
    expires_on: String(nowSeconds + 86_400),
    not_before: String(nowSeconds - 60),
    resource: 'https://storage.azure.com',
    token_type: 'Bearer',
  };
}
