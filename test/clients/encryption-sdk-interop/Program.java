// `write ARN FILE` encrypts `plain`; `read ARN FILE` decrypts to `read` and looks at the encryption context.

import com.amazonaws.encryptionsdk.AwsCrypto;
import com.amazonaws.encryptionsdk.kmssdkv2.KmsMasterKeyProvider;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

class Program {
    public static void main(String[] arguments) throws Exception {
        var provider = KmsMasterKeyProvider.builder().buildStrict(arguments[1]);
        var crypto = AwsCrypto.standard();
        var file = Path.of(arguments[2]);
        if (arguments[0].equals("write")) {
            var made = crypto.encryptData(provider, Files.readAllBytes(Path.of("plain")), Map.of("host", "web1"));
            Files.write(file, made.getResult());
        } else {
            var opened = crypto.decryptData(provider, Files.readAllBytes(file));
            if (!"web1".equals(opened.getEncryptionContext().get("host"))) throw new AssertionError("another encryption context");
            Files.write(Path.of("read"), opened.getResult());
        }
    }
}
