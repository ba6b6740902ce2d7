import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import java.util.stream.Stream;
import org.apache.kafka.common.utils.internals.Exit;

/**
 * Kafka's tools within this process, and what they say. A transcript has a line that begins with "$ " or "> " for what was
 * asked, then what came back; the last line is "end". See src/tool_answers.rs.
 */
final class Transcript {
    /** A tool as its script starts it. */
    interface Tool {
        void main(String[] args) throws Exception;
    }

    /** What a tool has written, and its exit code. */
    record Said(String out, String err, int exit) {
        /** What it has complained of, without usage and stack traces. */
        Stream<String> errors() {
            return err.lines().filter(line -> !line.isBlank() && !line.startsWith("usage") && !line.startsWith(" ") && isSaid(line));
        }

        /** What it has told, without stack traces. */
        Stream<String> lines() {
            return out.lines().filter(Said::isSaid);
        }

        private static boolean isSaid(String line) {
            return !line.startsWith("\tat") && !line.startsWith("\t...") && !line.startsWith("Caused by");
        }
    }

    /** Ends a tool where it would end the process. */
    private static final class Ended extends RuntimeException {}

    static final PrintStream out = System.out;
    private static final PrintStream err = System.err;
    private static final PrintStream nowhere = new PrintStream(OutputStream.nullOutputStream());

    private Transcript() {}

    /** Runs a tool to its end; one that throws says what, as it would without a catch. */
    static Said run(Tool tool, String... args) {
        return run(tool, "", args);
    }

    /** The same with something to read. */
    static Said run(Tool tool, String input, String... args) {
        var written = new ByteArrayOutputStream();
        var complained = new ByteArrayOutputStream();
        var exit = new OptionalInt[] {OptionalInt.empty()};
        Exit.setExitProcedure((code, message) -> {
            if (exit[0].isEmpty()) exit[0] = OptionalInt.of(code);
            // Some catch everything, this too, and would tell of it.
            System.setOut(nowhere);
            System.setErr(nowhere);
            throw new Ended();
        });
        List<Runnable> hooks = new ArrayList<>();
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        InputStream stdin = System.in;
        System.setIn(new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8)));
        System.setOut(new PrintStream(written, true));
        System.setErr(new PrintStream(complained, true));
        try {
            tool.main(args);
        } catch (Ended ended) {
            // `exit` says how.
        } catch (Throwable thrown) {
            System.err.println(thrown);
            exit[0] = OptionalInt.of(1);
        }
        System.setOut(new PrintStream(written, true));
        try {
            hooks.forEach(Runnable::run);
        } finally {
            System.setIn(stdin);
            System.setOut(out);
            System.setErr(err);
        }
        return new Said(written.toString(), complained.toString(), exit[0].orElse(0));
    }

    /** Writes what was asked and what came back: what a tool has told, what it has complained of, and how it ended. */
    static void tell(String asked, Said said, Stream<String> lines, Stream<String> errors) {
        out.println("$ " + asked);
        Stream.concat(lines.map(String::stripTrailing), errors.map(line -> "! " + line)).filter(line -> !line.isEmpty()).forEach(out::println);
        if (said.exit() != 0) out.println("exit code " + said.exit());
    }

    /** The last line. Ends the process, whatever threads there are. */
    static void end() {
        out.println("end");
        out.flush();
        Runtime.getRuntime().halt(0);
    }

    static String[] join(List<String> first, String... rest) {
        return Stream.concat(first.stream(), Stream.of(rest)).toArray(String[]::new);
    }
}
