// What a program does with AWS KMS by the SDK for Java 1.x, which reads credentials from a profile, but no endpoint.

import com.amazonaws.client.builder.AwsClientBuilder.EndpointConfiguration;
import com.amazonaws.services.kms.AWSKMS;
import com.amazonaws.services.kms.AWSKMSClientBuilder;
import com.amazonaws.services.kms.model.CreateKeyRequest;
import com.amazonaws.services.kms.model.DecryptRequest;
import com.amazonaws.services.kms.model.EncryptRequest;
import com.amazonaws.services.kms.model.InvalidCiphertextException;
import com.amazonaws.services.kms.model.SignRequest;
import com.amazonaws.services.kms.model.VerifyRequest;
import java.nio.ByteBuffer;
import java.util.Map;

class Program {
    public static void main(String[] arguments) {
        AWSKMS kms = AWSKMSClientBuilder.standard()
            .withEndpointConfiguration(new EndpointConfiguration(arguments[0], "us-east-1"))
            .build();
        var context = Map.of("host", "web1");
        var secret = ByteBuffer.wrap("secret".getBytes());
        var key = kms.createKey().getKeyMetadata();
        var made = kms.encrypt(new EncryptRequest().withKeyId(key.getKeyId()).withPlaintext(secret).withEncryptionContext(context));
        var blob = made.getCiphertextBlob();
        var opened = kms.decrypt(new DecryptRequest().withCiphertextBlob(blob).withEncryptionContext(context));
        check(opened.getPlaintext().equals(secret) && opened.getKeyId().equals(key.getArn()), "another plaintext");
        try {
            kms.decrypt(new DecryptRequest().withCiphertextBlob(blob));
            throw new AssertionError("a ciphertext opened without its encryption context");
        } catch (InvalidCiphertextException expected) {
            check(expected.getStatusCode() == 400 && expected.getRequestId() != null, "not as AWS answers");
        }

        var pair = kms.createKey(new CreateKeyRequest().withKeySpec("RSA_2048").withKeyUsage("SIGN_VERIFY")).getKeyMetadata().getKeyId();
        var text = ByteBuffer.wrap("text".getBytes());
        var algorithm = "RSASSA_PSS_SHA_256";
        var signed = kms.sign(new SignRequest().withKeyId(pair).withMessage(text).withSigningAlgorithm(algorithm)).getSignature();
        var verify = new VerifyRequest().withKeyId(pair).withMessage(text).withSigningAlgorithm(algorithm).withSignature(signed);
        check(kms.verify(verify).isSignatureValid(), "the signature does not verify");
    }

    static void check(boolean isSo, String otherwise) {
        if (!isSo) throw new AssertionError(otherwise);
    }
}
