import java.util.*;
import java.util.concurrent.*;

/** What a client can do, one line of JSON each: {"capability": "produce gzip", "ok": true}, or with "ok": false and "error". */
final class Capability {
    interface Body {
        void run() throws Exception;
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    static final long LIMIT_SECONDS = 60;
    private static final Set<String> names = new LinkedHashSet<>();
    private static final ExecutorService executor = Executors.newCachedThreadPool(task -> {
        Thread thread = new Thread(task);
        thread.setDaemon(true);
        return thread;
    });

    /** Runs the body at once; where it throws, or does not come back, the capability has failed. */
    static void of(String name, Body body) {
        names.add(name);
        String chosen = System.getenv("CAPABILITY");
        if (chosen != null && !name.startsWith(chosen)) return;
        long began = System.nanoTime();
        String error = null;
        Future<?> done = executor.submit(() -> {
            body.run();
            return null;
        });
        try {
            done.get(LIMIT_SECONDS, TimeUnit.SECONDS);
        } catch (Throwable failure) {
            while (failure instanceof ExecutionException) failure = failure.getCause();
            failure.printStackTrace();
            error = failure.toString();
            done.cancel(true);
        }
        System.err.printf("%6.2f s %s%n", (System.nanoTime() - began) / 1e9, name);
        String result = error == null ? "true" : "false, \"error\": " + quoted(error);
        System.out.println("{\"capability\": " + quoted(name) + ", \"ok\": " + result + "}");
    }

    /** The list is complete: every public method of the type has a capability "AREA method ...", or asks the broker nothing. */
    static void allPublicCalls(String area, Class<?> type, String... leavingOut) {
        Set<String> missing = new TreeSet<>();
        for (var method : type.getMethods()) missing.add(method.getName());
        missing.removeAll(Set.of(leavingOut));
        for (String name : names) if (name.startsWith(area + " ")) missing.remove(name.split(" ")[1]);
        of(area + ": every public call is tried", () -> check(missing.isEmpty(), missing));
    }

    static void check(boolean holds, Object found) {
        if (!holds) throw new AssertionError(found);
    }

    static void same(Object found, Object expected) {
        if (!Objects.equals(found, expected)) throw new AssertionError(found + " instead of " + expected);
    }

    /** It fails with an exception of this kind, found by its simple name; an old client lacks the newest. */
    static void refused(String kind, Body body) throws Exception {
        try {
            body.run();
        } catch (Exception error) {
            for (Throwable cause = error; cause != null; cause = cause.getCause())
                for (Class<?> found = cause.getClass(); found != null; found = found.getSuperclass())
                    if (found.getSimpleName().equals(kind)) return;
            throw error;
        }
        throw new AssertionError("not refused");
    }

    static void until(String what, Condition condition) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
        while (!condition.holds()) {
            if (System.nanoTime() > deadline) throw new TimeoutException("not in 30 s: " + what);
            Thread.sleep(20);
        }
    }

    /** A name that no other program takes that uses the same broker. */
    static String unique(String name) {
        return name + "-" + UUID.randomUUID().toString().substring(0, 8);
    }

    private static String quoted(String text) {
        var quoted = new StringBuilder("\"");
        for (char character : text.toCharArray()) {
            if (character == '"' || character == '\\') quoted.append('\\').append(character);
            else if (character < ' ') quoted.append(String.format("\\u%04x", (int) character));
            else quoted.append(character);
        }
        return quoted.append('"').toString();
    }

    private Capability() {}
}
