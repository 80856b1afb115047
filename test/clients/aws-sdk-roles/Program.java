// Encrypts and decrypts under the key that it is told, as the role of AWS_PROFILE.

import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.services.kms.KmsClient;
import software.amazon.awssdk.services.kms.model.KmsException;
import software.amazon.awssdk.services.sts.StsClient;

class Program {
    public static void main(String[] arguments) {
        try (KmsClient kms = KmsClient.create(); StsClient sts = StsClient.create()) {
            var arn = sts.getCallerIdentity().arn();
            check(arn.equals("arn:aws:sts::000000000000:assumed-role/deploy/release"), arn);
            var secret = SdkBytes.fromUtf8String("secret");
            var made = kms.encrypt(each -> each.keyId(arguments[0]).plaintext(secret));
            check(kms.decrypt(each -> each.ciphertextBlob(made.ciphertextBlob())).plaintext().equals(secret), "another plaintext");
            try {
                kms.createKey();
                throw new AssertionError("the role made a key");
            } catch (KmsException refusal) {
                check(refusal.awsErrorDetails().errorCode().equals("AccessDeniedException"), refusal.toString());
            }
        }
    }

    static void check(boolean isSo, String otherwise) {
        if (!isSo) throw new AssertionError(otherwise);
    }
}
