"""SQL92 expressions over the properties of messages: compiled once, applied to each message.

    expression = compile_expression("a > 5 AND region IN ('eu', 'us')")
    expression.matches({"a": "6", "region": "eu"})

Pure, and bounded in time and memory whatever the text is. Facts: spec/filter.yaml (sql92).
"""

from rocketmq_tx.filter.expression import Expression, compile_expression

__all__ = ["Expression", "compile_expression"]
