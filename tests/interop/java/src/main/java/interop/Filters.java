package interop;

import com.alibaba.fastjson.JSONObject;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.exception.MQClientException;

/** What a consumer subscribes to: tags by "expression", or properties of messages by "sql". */
final class Filters {
    private Filters() {
    }

    static void subscribe(DefaultMQPushConsumer consumer, JSONObject command) throws MQClientException {
        String topic = command.getString("topic");
        String sql = command.getString("sql");
        if (sql == null) {
            consumer.subscribe(topic, command.getString("expression"));
        } else {
            consumer.subscribe(topic, MessageSelector.bySql(sql));
        }
    }

    /** A consumer whose expression a broker refuses has been started all the same: it is to go again. */
    static void start(DefaultMQPushConsumer consumer) throws MQClientException {
        try {
            consumer.start();
        } catch (MQClientException refused) {
            consumer.shutdown();
            throw refused;
        }
    }
}
