package interop;

import com.alibaba.fastjson.JSONArray;
import com.alibaba.fastjson.JSONObject;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * The commands about transactional producers. Each message says in its properties what its local transaction
 * does: "local" is its outcome (HALT: the process dies in it), "executeMs" how long it takes, "check" what a
 * check finds once it is over, "checksBefore" how many checks find nothing before that.
 */
final class Transactions {
    private final Map<String, Running> byGroup = new TreeMap<>();

    JSONObject carryOut(String name, JSONObject command) throws Exception {
        return switch (name) {
            case "start_transaction_producer" -> start(command);
            case "send_transactions" -> send(command);
            case "transaction_checks" -> new JSONObject().fluentPut("checks", running(command).listener.seen());
            case "stop_transaction_producer" -> stop(command);
            default -> throw new IllegalArgumentException("no command " + name);
        };
    }

    private JSONObject start(JSONObject command) throws Exception {
        Running running = new Running(new TransactionMQProducer(command.getString("producer")), new Listener());
        running.producer.setNamesrvAddr(command.getString("namesrv"));
        running.producer.setTransactionListener(running.listener);
        Settings.apply(command.getJSONObject("settings"), running.producer);
        running.producer.start();
        byGroup.put(command.getString("producer"), running);
        return new JSONObject();
    }

    /** One after the other; "inBackground" does not wait for the local transactions and answers nothing. */
    private JSONObject send(JSONObject command) throws Exception {
        TransactionMQProducer producer = running(command).producer;
        List<Message> messages = Messages.fromJson(command.getJSONArray("messages"));
        if (command.getBooleanValue("inBackground")) {
            for (Message message : messages) {
                Thread thread = new Thread(() -> {
                    try {
                        producer.sendMessageInTransaction(message, null);
                    } catch (Exception error) {
                        error.printStackTrace();
                    }
                });
                thread.setDaemon(true);
                thread.start();
            }
            return new JSONObject();
        }
        JSONArray results = new JSONArray();
        for (Message message : messages) {
            TransactionSendResult result = producer.sendMessageInTransaction(message, null);
            results.add(Messages.toJson(result).fluentPut("state", result.getLocalTransactionState().name()));
        }
        return new JSONObject().fluentPut("results", results);
    }

    private JSONObject stop(JSONObject command) {
        running(command).producer.shutdown();
        byGroup.remove(command.getString("producer"));
        return new JSONObject();
    }

    void stopAll() {
        byGroup.values().forEach(running -> running.producer.shutdown());
    }

    private Running running(JSONObject command) {
        Running running = byGroup.get(command.getString("producer"));
        if (running == null) {
            throw new IllegalArgumentException("no transactional producer " + command.getString("producer"));
        }
        return running;
    }

    private record Running(TransactionMQProducer producer, Listener listener) {
    }

    private static final class Listener implements TransactionListener {
        private final Set<String> executing = ConcurrentHashMap.newKeySet();
        private final JSONArray checks = new JSONArray();

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object ignored) {
            executing.add(message.getTransactionId());
            try {
                String pause = message.getUserProperty("executeMs");
                if (pause != null) {
                    Thread.sleep(Long.parseLong(pause));
                }
            } catch (InterruptedException error) {
                throw new IllegalStateException(error);
            } finally {
                executing.remove(message.getTransactionId());
            }
            if ("HALT".equals(message.getUserProperty("local"))) {
                Runtime.getRuntime().halt(1);
            }
            return LocalTransactionState.valueOf(message.getUserProperty("local"));
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            LocalTransactionState state = decide(message);
            synchronized (checks) {
                checks.add(new JSONObject()
                    .fluentPut("body", new String(message.getBody()))
                    .fluentPut("topic", message.getTopic())
                    .fluentPut("transactionId", message.getTransactionId())
                    .fluentPut("times", message.getUserProperty("TRANSACTION_CHECK_TIMES"))
                    .fluentPut("state", state.name()));
            }
            return state;
        }

        private LocalTransactionState decide(MessageExt message) {
            String before = message.getUserProperty("checksBefore");
            int times = Integer.parseInt(message.getUserProperty("TRANSACTION_CHECK_TIMES"));
            if (executing.contains(message.getTransactionId()) || before != null && times <= Integer.parseInt(before)) {
                return LocalTransactionState.UNKNOW;
            }
            return LocalTransactionState.valueOf(message.getUserProperty("check"));
        }

        JSONArray seen() {
            synchronized (checks) {
                return (JSONArray) checks.clone();
            }
        }
    }
}
