import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import javax.security.auth.x500.X500Principal;
import org.apache.kafka.common.security.ssl.SslPrincipalMapper;

/**
 * How Java writes names of certificates, and how Kafka maps them to principals.
 *
 * `names`: a line is a name in DER as hex, a tab, and what X500Principal.getName() makes of it. `mappings`: a line is rules, a name
 * and the principal, or `-` where no rule is for the name and `!` where Kafka fails; with tabs between them. What is no printable ASCII
 * character, and the backslash, is written as \\uXXXX.
 */
public class TlsNames {
    private static final String[] TYPES = {
        "2.5.4.3", "2.5.4.6", "2.5.4.7", "2.5.4.8", "2.5.4.9", "2.5.4.10", "2.5.4.11", "0.9.2342.19200300.100.1.1",
        "0.9.2342.19200300.100.1.25", "2.5.4.5", "2.5.4.12", "1.2.840.113549.1.9.1", "2.5.4.46", "1.3.6.1.4.1.99999.7",
    };
    /** UTF8String, PrintableString, T61String, IA5String, UniversalString, GeneralString, VisibleString, BMPString, INTEGER. */
    private static final int[] TAGS = {12, 12, 12, 12, 19, 19, 20, 22, 28, 27, 26, 30, 2};
    private static final String LETTERS = "abcXYZ019 ,=+<>#;\"\\\r\n\0é€._-'()/:?@";

    private static final String[] RULES = {
        "DEFAULT", "", " DEFAULT , DEFAULT", "RULE:^CN=(.*?),.*$/$1/", "RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/,DEFAULT",
        "RULE:^CN=(.*?),OU=(.*?),O=(.*?),L=(.*?),ST=(.*?),C=(.*?)$/$1@$2/L , RULE:^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$/$1/U,DEFAULT",
        "RULE:.*/X/", "RULE:a|ab|CN=.*/Y/", "RULE:CN=(\\w+)-(\\d+).*/$2.$1/L", "RULE:^CN=(a)?(b)?.*$/[$1$2]/", "RULE:(.*)/$1$9/",
        "RULE:(.*)/$12/", "RULE:(.*)/\\$x\\/y/", "RULE:(.*)/$0/U", "RULE:CN=(?<name>[^,]*).*/$1/", "RULE:(?i)cn=(.*)/$1/L",
        "RULE:CN=([^,\\\\]+)\\\\,.*/$1/", "RULE:/empty/,RULE:()/e$1/", "RULE:CN=\\S+ \\S+/two/,RULE:CN=\\S+/one/",
        "RULE:CN=([]a-c]+)/$1/", "RULE:CN=.?b*c{1,2}/n/",
        // Refused.
        "DEFAULTX", "RULE:a/b", "RULE:a/b/X", "RULE:a/b/L junk", "junk", "RULE:(/b/", "DEFAULT DEFAULT", "RULE:a/b/,,junk",
    };
    private static final String[] NAMES = {
        "CN=kafka1,OU=SME,O=mycp,L=Fulton,ST=MD,C=US", "CN=adam,OU=ServiceUsers,O=Unknown,C=US", "cn=low,OU=x", "CN=one-1", "CN=ab",
        "CN=two words", "CN=oneWord", "CN=a\\,b,OU=x", "CN=\u017fharp\u212a", "OU=none", "CN=]abc", "CN=cc", "CN=xbbcc", "", "a", "CN=\u00c4\u0130\u00df",
    };

    public static void main(String[] args) {
        if (args[0].equals("names")) {
            names();
        } else {
            mappings();
        }
    }

    private static void names() {
        Random random = new Random(1);
        for (int count = 0; count < 150; count++) {
            byte[] name = sequence(0x30, parts(random, 4, () -> part(random)));
            try {
                System.out.println(HexFormat.of().formatHex(name) + "\t" + escaped(new X500Principal(name).getName()));
            } catch (IllegalArgumentException refused) {
                // Java does not take it for a name.
            }
        }
    }

    private static byte[] part(Random random) {
        int most = random.nextInt(5) == 0 ? 3 : 1;
        return sequence(0x31, parts(random, most, () -> {
            String type = TYPES[random.nextInt(TYPES.length)];
            int tag = TAGS[random.nextInt(TAGS.length)];
            return sequence(0x30, List.of(oid(type), tagged(tag, value(random, tag))));
        }));
    }

    private static byte[] value(Random random, int tag) {
        StringBuilder text = new StringBuilder();
        int letters = random.nextInt(12) == 0 ? 120 : 1 + random.nextInt(8);
        boolean plain = tag != 12 && tag != 30;
        for (int count = 0; count < letters; count++) {
            char letter = LETTERS.charAt(random.nextInt(LETTERS.length()));
            text.append(plain && letter > 126 ? 'e' : letter);
        }
        return text.toString().getBytes(tag == 30 ? StandardCharsets.UTF_16BE : StandardCharsets.UTF_8);
    }

    private interface Making {
        byte[] make();
    }

    private static List<byte[]> parts(Random random, int most, Making making) {
        List<byte[]> parts = new ArrayList<>();
        for (int count = 1 + random.nextInt(most); count > 0; count--) {
            parts.add(making.make());
        }
        return parts;
    }

    private static byte[] sequence(int tag, List<byte[]> parts) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        parts.forEach(bytes::writeBytes);
        return tagged(tag, bytes.toByteArray());
    }

    private static byte[] tagged(int tag, byte[] content) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        bytes.write(tag);
        if (content.length > 255) {
            bytes.write(0x82);
            bytes.write(content.length >> 8);
        } else if (content.length > 127) {
            bytes.write(0x81);
        }
        bytes.write(content.length);
        bytes.writeBytes(content);
        return bytes.toByteArray();
    }

    private static byte[] oid(String text) {
        String[] numbers = text.split("\\.");
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        bytes.write(Integer.parseInt(numbers[0]) * 40 + Integer.parseInt(numbers[1]));
        for (int at = 2; at < numbers.length; at++) {
            int number = Integer.parseInt(numbers[at]);
            for (int shift = 28; shift > 0; shift -= 7) {
                if (number >> shift != 0) {
                    bytes.write(0x80 | number >> shift & 0x7f);
                }
            }
            bytes.write(number & 0x7f);
        }
        return tagged(6, bytes.toByteArray());
    }

    private static void mappings() {
        for (String rules : RULES) {
            for (String name : NAMES) {
                System.out.println(escaped(rules) + "\t" + escaped(name) + "\t" + mapped(rules, name));
            }
        }
    }

    private static String mapped(String rules, String name) {
        try {
            return "=" + escaped(SslPrincipalMapper.fromRules(rules).getName(name));
        } catch (SslPrincipalMapper.NoMatchingRule none) {
            return "-";
        } catch (Exception failed) {
            return "!";
        }
    }

    private static String escaped(String text) {
        StringBuilder escaped = new StringBuilder();
        for (char letter : text.toCharArray()) {
            if (letter < ' ' || letter > '~' || letter == '\\') {
                escaped.append(String.format("\\u%04x", (int) letter));
            } else {
                escaped.append(letter);
            }
        }
        return escaped.toString();
    }
}
