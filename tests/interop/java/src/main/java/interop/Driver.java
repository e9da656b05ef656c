package interop;

import com.alibaba.fastjson.JSON;
import com.alibaba.fastjson.JSONObject;
import com.alibaba.fastjson.serializer.SerializerFeature;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/**
 * Lets a test drive the Apache client: one command per line on standard input, one answer per line on
 * standard output, both JSON. A command is {"do": NAME, ...}; an answer has "ok" and, when that is false,
 * "error". Scenarios live on the other side, so this program decides nothing and sleeps nowhere.
 */
public final class Driver {
    private final Producers producers = new Producers();
    private final Consumers consumers = new Consumers();
    private final Transactions transactions = new Transactions();
    private final Pulling pulling = new Pulling();
    private final Asking asking = new Asking();
    private final Admins admins = new Admins();

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        System.setOut(System.err); // whatever a library prints must not be taken for an answer
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Driver driver = new Driver();
        String line;
        while ((line = commands.readLine()) != null) {
            answers.println(JSON.toJSONString(driver.answer(line), SerializerFeature.DisableCircularReferenceDetect));
        }
        driver.stopAll();
        System.exit(0); // some client threads are no daemons
    }

    private JSONObject answer(String line) {
        try {
            JSONObject result = carryOut(JSON.parseObject(line));
            result.put("ok", true);
            return result;
        } catch (Exception error) {
            JSONObject result = new JSONObject();
            result.put("ok", false);
            result.put("error", error.getClass().getSimpleName() + ": " + error.getMessage());
            return result;
        }
    }

    private JSONObject carryOut(JSONObject command) throws Exception {
        String name = command.getString("do");
        if (Pulling.knows(name)) {
            return pulling.carryOut(name, command);
        }
        if (Asking.knows(name)) {
            return asking.carryOut(name, command);
        }
        if (Admins.knows(name)) {
            return admins.carryOut(name, command);
        }
        return switch (name) {
            case "start_producer" -> producers.start(command);
            case "create_topic" -> producers.createTopic(command);
            case "publish_queues" -> producers.publishQueues(command);
            case "send" -> producers.send(command);
            case "stop_producer" -> producers.stop(command);
            case "start_consumer" -> consumers.start(command);
            case "received" -> consumers.received(command);
            case "assigned" -> consumers.assigned(command);
            case "lag" -> consumers.lag(command);
            case "stop_consumer" -> consumers.stop(command);
            default -> transactions.carryOut(name, command);
        };
    }

    private void stopAll() {
        producers.stopAll();
        transactions.stopAll();
        consumers.stopAll();
        pulling.stopAll();
        asking.stopAll();
        admins.stopAll();
    }
}
