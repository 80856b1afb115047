// Whether a file has one Authenticode signature of a certificate's key, over its own digest.

import java.io.File;
import java.io.FileInputStream;
import java.security.MessageDigest;
import java.security.Signature;
import java.security.cert.CertificateFactory;
import java.util.Arrays;
import net.jsign.DigestAlgorithm;
import net.jsign.Signable;

class Verify {
    public static void main(String[] arguments) throws Exception {
        var file = Signable.of(new File(arguments[0]));
        var key = CertificateFactory.getInstance("X.509").generateCertificate(new FileInputStream(arguments[1])).getPublicKey();
        check(file.getSignatures().size() == 1, "not one signature");
        var signer = file.getSignatures().get(0).getSignerInfos().getSigners().iterator().next();
        var verifier = Signature.getInstance(key.getAlgorithm().equals("EC") ? "SHA256withECDSA" : "SHA256withRSA");
        verifier.initVerify(key);
        verifier.update(signer.getEncodedSignedAttributes());
        check(verifier.verify(signer.getSignature()), "the signature does not verify");

        // What is signed has the digest of what Authenticode says of the file, as it is computed anew from the file.
        var said = file.createIndirectData(DigestAlgorithm.SHA256).getEncoded();
        var headerBytes = said[1] >= 0 ? 2 : 2 + (said[1] & 0x7f);
        var digest = MessageDigest.getInstance("SHA-256").digest(Arrays.copyOfRange(said, headerBytes, said.length));
        check(isPartOf(signer.getEncodedSignedAttributes(), digest), "another file was signed");
    }

    static boolean isPartOf(byte[] whole, byte[] part) {
        for (int at = 0; at + part.length <= whole.length; at++) {
            if (Arrays.equals(whole, at, at + part.length, part, 0, part.length)) return true;
        }
        return false;
    }

    static void check(boolean isSo, String otherwise) {
        if (!isSo) throw new AssertionError(otherwise);
    }
}
