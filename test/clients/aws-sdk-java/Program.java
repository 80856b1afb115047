// What a program does with AWS KMS by the SDK for Java 2.x: `profile` and `async` have their settings from AWS_PROFILE alone, and
// `socket` goes over the Unix socket.

import static java.util.stream.Collectors.toSet;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.Signature;
import java.security.spec.X509EncodedKeySpec;
import java.util.Map;
import java.util.Set;
import org.apache.http.HttpHost;
import org.apache.http.conn.socket.ConnectionSocketFactory;
import org.apache.http.protocol.HttpContext;
import org.newsclub.net.unix.AFUNIXSocket;
import org.newsclub.net.unix.AFUNIXSocketAddress;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.http.apache.ApacheHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.kms.KmsAsyncClient;
import software.amazon.awssdk.services.kms.KmsClient;
import software.amazon.awssdk.services.kms.model.InvalidCiphertextException;
import software.amazon.awssdk.services.kms.model.KeyListEntry;
import software.amazon.awssdk.services.kms.model.KeySpec;
import software.amazon.awssdk.services.kms.model.KeyUsageType;
import software.amazon.awssdk.services.kms.model.SigningAlgorithmSpec;
import software.amazon.awssdk.services.sts.StsClient;

class Program {
    static final Map<String, String> context = Map.of("host", "web1");
    static final SdkBytes secret = SdkBytes.fromUtf8String("secret");

    public static void main(String[] arguments) throws Exception {
        switch (arguments[0]) {
            case "profile" -> {
                try (KmsClient kms = KmsClient.create(); StsClient sts = StsClient.create()) {
                    use(kms);
                    check(sts.getCallerIdentity().arn().equals("arn:aws:iam::000000000000:root"), "somebody else");
                }
            }
            case "async" -> {
                try (KmsAsyncClient kms = KmsAsyncClient.create()) {
                    useWithoutWaiting(kms);
                }
            }
            case "socket" -> {
                try (KmsClient kms = overSocket(Path.of(System.getenv("DRAWBRIDGE_SOCKET")))) {
                    use(kms);
                }
            }
        }
    }

    static KmsClient overSocket(Path path) {
        return KmsClient.builder()
            .region(Region.US_EAST_1)
            // Apache's client asks this factory for connections of `https` alone; what it makes is a socket without TLS.
            .endpointOverride(URI.create("https://kms"))
            // The kernel says who calls; the SDK wants something to sign with, and nobody looks at it.
            .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("unused", "unused")))
            .httpClientBuilder(ApacheHttpClient.builder()
                .socketFactory(new UnixSockets(path))
                .dnsResolver(host -> new InetAddress[] {InetAddress.getLoopbackAddress()}))
            .build();
    }

    record UnixSockets(Path path) implements ConnectionSocketFactory {
        @Override
        public Socket createSocket(HttpContext context) throws IOException {
            return AFUNIXSocket.newInstance();
        }

        @Override
        public Socket connectSocket(int timeoutMs, Socket socket, HttpHost host, InetSocketAddress remote,
                InetSocketAddress local, HttpContext context) throws IOException {
            socket.connect(AFUNIXSocketAddress.of(path), timeoutMs);
            return socket;
        }
    }

    static void use(KmsClient kms) throws Exception {
        var key = kms.createKey().keyMetadata();
        var made = kms.encrypt(each -> each.keyId(key.keyId()).plaintext(secret).encryptionContext(context));
        var opened = kms.decrypt(each -> each.ciphertextBlob(made.ciphertextBlob()).encryptionContext(context));
        check(opened.plaintext().equals(secret) && opened.keyId().equals(key.arn()), "another plaintext");
        try {
            kms.decrypt(each -> each.ciphertextBlob(made.ciphertextBlob()));
            throw new AssertionError("a ciphertext opened without its encryption context");
        } catch (InvalidCiphertextException expected) {
            check(expected.statusCode() == 400 && expected.requestId() != null, "not as AWS answers");
        }

        var pair = kms.createKey(each -> each.keySpec(KeySpec.ECC_NIST_P256).keyUsage(KeyUsageType.SIGN_VERIFY)).keyMetadata();
        var text = SdkBytes.fromUtf8String("text");
        var signed = kms.sign(each -> each.keyId(pair.keyId()).message(text).signingAlgorithm(SigningAlgorithmSpec.ECDSA_SHA_256));
        var encoded = kms.getPublicKey(each -> each.keyId(pair.keyId())).publicKey().asByteArray();
        var verifier = Signature.getInstance("SHA256withECDSA");
        verifier.initVerify(KeyFactory.getInstance("EC").generatePublic(new X509EncodedKeySpec(encoded)));
        verifier.update(text.asByteArray());
        check(verifier.verify(signed.signature().asByteArray()), "the signature does not verify");

        var listed = kms.listKeysPaginator(each -> each.limit(1)).keys().stream().map(KeyListEntry::keyId).collect(toSet());
        check(listed.containsAll(Set.of(key.keyId(), pair.keyId())), "a key is in no list");
    }

    static void useWithoutWaiting(KmsAsyncClient kms) {
        var key = kms.createKey().join().keyMetadata().keyId();
        var opened = kms.encrypt(each -> each.keyId(key).plaintext(secret))
            .thenCompose(made -> kms.decrypt(each -> each.ciphertextBlob(made.ciphertextBlob())));
        check(opened.join().plaintext().equals(secret), "another plaintext");
    }

    static void check(boolean isSo, String otherwise) {
        if (!isSo) throw new AssertionError(otherwise);
    }
}
