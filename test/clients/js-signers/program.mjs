// Signs as an Ethereum account whose key is in KMS, and JSON web tokens.
import { createRequire } from 'node:module';

// From the folder in which they were installed, and not from beside this file.
const require = createRequire(`${process.cwd()}/`);
const { KMSClient } = require('@aws-sdk/client-kms');
const { KMSSigner } = require('@rumblefishdev/eth-signer-kms');
const { verifyMessage } = require('ethers');
const { setClient, sign, verify } = require('jwt-on-kms');

const [account, issuer] = process.argv.slice(2);
const signer = await KMSSigner.create(null, account, new KMSClient({}));
const address = await signer.getAddress();
for (let count = 0; count < 8; count += 1) {
  const signature = await signer.signMessage(`message ${count}`);
  const by = verifyMessage(`message ${count}`, signature);
  if (by.toLowerCase() !== address.toLowerCase()) throw new Error(`signed by ${by}, and not by ${address}`);
}
setClient(new KMSClient({}));
const token = await sign({ who: 'web1' }, issuer);
const { isValid, payload } = await verify(token, issuer);
if (!isValid || payload.who !== 'web1') throw new Error('the token is not valid');
