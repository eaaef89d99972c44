import type { Failure } from '../retry.ts';

export interface ErrorContext {
  readonly account: string;
  readonly container: string;
  readonly host: string;
  /** What the user wrote the credential into, `AccountKey in FILE`; undefined when nobody wrote any. */
  readonly credentialPlace?: string | undefined;
}

export interface Meaning {
  readonly code: Failure['code'];
  /** Default: the status decides. */
  readonly isRetried?: boolean;
  readonly remedy?: (context: ErrorContext) => string;
}

const containerMissing = ({ account, container }: ErrorContext): string =>
  `create it: az storage container create --account-name ${account} --name ${container} --auth-mode login`;

const firewall = ({ account }: ErrorContext): string =>
  `the firewall of ${account} refuses this network: allow the VM's subnet (az storage account network-rule add), or reach it by a private endpoint`;

const notAllowed = (context: ErrorContext): string => {
  const { account, container, credentialPlace } = context;
  if (credentialPlace !== undefined)
    return (
      `check ${credentialPlace}: it must belong to the account ${account}, be allowed there and not have expired ` +
      '(a shared access signature needs rwdlc)'
    );
  return (
    `give the identity the role "Storage Blob Data Contributor" on the container ${container} of ${account} (it takes ` +
    'minutes to work); with a role on the container only, this is also the answer when it does not exist: ' +
    containerMissing(context)
  );
};

/** 403 with a code that nobody knows. */
export const forbidden = (context: ErrorContext): string =>
  `${notAllowed(context)}; and check the account's firewall`;

const notBelieved = ({ account, credentialPlace }: ErrorContext): string =>
  `check ${credentialPlace ?? 'the credential'}: it must belong to the account ${account} and still be valid; check ` +
  "this machine's clock too, which may be 15 minutes off at most";

const byPolicy = ({ container }: ErrorContext): string =>
  `look for an immutability policy or a legal hold on ${container}: az storage container immutability-policy show`;

const leased: Meaning = {
  code: 'leased',
  remedy: () => 'somebody has a lease on the blob: az storage blob lease break',
};
const archived: Meaning = {
  code: 'archived',
  remedy: () => 'move it out of the archive tier (az storage blob set-tier --tier Hot), which takes hours',
};
const unauthenticated: Meaning = { code: 'unauthenticated', remedy: notBelieved };
const again: Meaning = { code: 'unavailable', isRetried: true };
const signatureTerms: Meaning = {
  code: 'forbidden',
  remedy: ({ credentialPlace = 'the shared access signature' }) =>
    `check for which addresses, protocols, services and resources ${credentialPlace} was made`,
};

/**
 * What the service's own codes mean, which say more than its statuses.
 * Sources: learn.microsoft.com, Blob service error codes, Common REST API error codes; the codes of concurrent writes
 * from public threads (Azure/azure-sdk-for-net 19311, grafana/loki 9115), where trying again helped.
 */
export const azureCodes: Readonly<Record<string, Meaning | undefined>> = {
  ContainerNotFound: { code: 'container-not-found', remedy: containerMissing },
  ContainerBeingDeleted: { code: 'container-not-found', remedy: containerMissing },
  ContainerDisabled: { code: 'container-not-found', remedy: containerMissing },

  // Of writes that must not overwrite.
  BlobAlreadyExists: { code: 'taken' },
  ConditionNotMet: { code: 'taken' },
  UnauthorizedBlobOverwrite: { code: 'taken' },

  BlobArchived: archived,
  BlobBeingRehydrated: archived,
  BlobImmutableDueToPolicy: { code: 'immutable', remedy: byPolicy },
  SnapshotsPresent: {
    code: 'immutable',
    remedy: () => 'somebody made snapshots of the blob; delete those first',
  },
  LeaseIdMissing: leased,
  LeaseAlreadyPresent: leased,
  LeaseLost: leased,
  LeaseIdMismatchWithBlobOperation: leased,

  BlobHasBeenModified: again,
  BlobModifiedWhileReading: again,
  InvalidBlobOrBlock: again,
  InternalError: again,
  OperationTimedOut: again,
  // Damaged on the way.
  Md5Mismatch: again,
  Crc64Mismatch: again,
  ServerBusy: { code: 'throttled', isRetried: true },
  InvalidRange: { code: 'bad-answer' },

  AuthenticationFailed: unauthenticated,
  InvalidAuthenticationInfo: unauthenticated,
  NoAuthenticationInformation: unauthenticated,
  AuthorizationFailure: {
    code: 'forbidden',
    remedy: (context) => `${firewall(context)}; or ${notAllowed(context)}`,
  },
  AuthorizationPermissionMismatch: { code: 'forbidden', remedy: notAllowed },
  InsufficientAccountPermissions: { code: 'forbidden', remedy: notAllowed },
  AuthorizationSourceIPMismatch: signatureTerms,
  AuthorizationProtocolMismatch: signatureTerms,
  AuthorizationServiceMismatch: signatureTerms,
  AuthorizationResourceTypeMismatch: signatureTerms,
  KeyBasedAuthenticationNotPermitted: {
    code: 'forbidden',
    remedy: ({ account }) =>
      `${account} takes neither keys nor signatures made by them: use auth: { kind: managed-identity }`,
  },
  AccountIsDisabled: {
    code: 'forbidden',
    remedy: ({ account }) =>
      `the account ${account} is disabled: look at it and at its subscription in the portal`,
  },
  FeatureNotYetSupportedForHierarchicalNamespaceAccounts: {
    code: 'refused',
    remedy: ({ account }) =>
      `${account} has a hierarchical namespace, which lacks this; evictd needs nothing that is missing there: report it`,
  },
};
