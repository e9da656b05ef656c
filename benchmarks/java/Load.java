import com.alibaba.fastjson.JSON;
import com.alibaba.fastjson.JSONObject;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/**
 * Loads brokers with the Apache Java client: one command per line on standard input, one answer per line on standard
 * output, both JSON. One process serves both systems that are compared, so that the client's own JIT favours neither;
 * "side" names the system.
 */
public final class Load {
    public static void main(String[] arguments) throws Exception {
        PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        System.setOut(System.err); // whatever a library prints must not be taken for an answer
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Sides sides = new Sides();
        String line;
        while ((line = commands.readLine()) != null) {
            JSONObject answer;
            try {
                answer = carryOut(sides, JSON.parseObject(line)).fluentPut("ok", true);
            } catch (Exception error) {
                answer = new JSONObject().fluentPut("ok", false).fluentPut("error", String.valueOf(error));
            }
            answers.println(answer.toJSONString());
        }
        System.exit(0); // what is open goes with the process; some client threads are no daemons
    }

    private static JSONObject carryOut(Sides sides, JSONObject command) throws Exception {
        return switch (command.getString("do")) {
            case "open" -> sides.open(command);
            case "send" -> new Sending(sides.side(command), command).run();
            case "consume" -> Consuming.backlog(sides.side(command), command);
            case "live" -> Consuming.live(sides.side(command), command);
            case "latency" -> new Latency(sides.side(command), command).run();
            default -> throw new IllegalArgumentException("no command " + command);
        };
    }

    private Load() {
    }
}
