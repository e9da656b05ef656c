import com.alibaba.fastjson.JSONObject;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** The systems under load: for each the producers that stay open. */
final class Sides {
    private final Map<String, Side> byName = new TreeMap<>();

    /** One system. An instance name of its own keeps the client's connections and threads apart. */
    static final class Side {
        private final String name;
        private final String nameServer;
        final DefaultMQProducer producer;
        final TransactionMQProducer transactions;

        Side(String name, String nameServer) throws Exception {
            this.name = name;
            this.nameServer = nameServer;
            producer = new DefaultMQProducer("load-" + name);
            start(producer);
            transactions = new TransactionMQProducer("load-transactions-" + name);
            transactions.setTransactionListener(new CommitAtOnce());
            start(transactions);
        }

        private void start(DefaultMQProducer one) throws Exception {
            one.setNamesrvAddr(nameServer);
            one.setInstanceName(name);
            one.setRetryTimesWhenSendFailed(0);
            one.setRetryTimesWhenSendAsyncFailed(0);
            one.setSendMsgTimeout(10_000);
            one.start();
        }

        DefaultMQPushConsumer consumer(String group) {
            DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
            consumer.setNamesrvAddr(nameServer);
            consumer.setInstanceName(name + "-" + group);
            consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            return consumer;
        }
    }

    /** Every local transaction is a success. */
    private static final class CommitAtOnce implements TransactionListener {
        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object ignored) {
            return LocalTransactionState.COMMIT_MESSAGE;
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            return LocalTransactionState.COMMIT_MESSAGE;
        }
    }

    JSONObject open(JSONObject command) throws Exception {
        String name = command.getString("side");
        byName.put(name, new Side(name, command.getString("namesrv")));
        return new JSONObject();
    }

    Side side(JSONObject command) {
        return byName.get(command.getString("side"));
    }
}
