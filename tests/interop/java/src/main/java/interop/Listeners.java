package interop;

import com.alibaba.fastjson.JSONObject;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * What a consumer does with its messages once it has noted them: it takes them in order ("orderly") or as they
 * come, takes its time for each call ("pauseMs"), and fails the first tries of each message ("failures").
 */
final class Listeners {
    private Listeners() {
    }

    static void register(DefaultMQPushConsumer consumer, JSONObject command, java.util.function.Consumer<List<MessageExt>> note) {
        int failures = command.getIntValue("failures");
        long pauseMs = command.getLongValue("pauseMs");
        if (command.getBooleanValue("orderly")) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                note.accept(messages);
                return succeeds(messages, failures, pauseMs)
                    ? ConsumeOrderlyStatus.SUCCESS : ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            });
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                note.accept(messages);
                return succeeds(messages, failures, pauseMs)
                    ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
            });
        }
    }

    private static boolean succeeds(List<MessageExt> messages, int failures, long pauseMs) {
        if (pauseMs > 0) {
            try {
                Thread.sleep(pauseMs);
            } catch (InterruptedException stopping) {
                return false;
            }
        }
        return messages.stream().allMatch(message -> message.getReconsumeTimes() >= failures);
    }
}
