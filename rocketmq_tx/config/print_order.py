"""In which order Apache prints its keys: that of the declarations in its classes, where ours go by subject.

Facts: `spec/config.yaml`; recorded print-outs confirm it.
"""

from __future__ import annotations

BROKER = """
    rocketmqHome namesrvAddr brokerIP1 brokerIP2 brokerName brokerClusterName brokerId
    brokerPermission defaultTopicQueueNums autoCreateTopicEnable clusterTopicEnable
    brokerTopicEnable autoCreateSubscriptionGroup messageStorePlugIn msgTraceTopicName
    traceTopicEnable sendMessageThreadPoolNums putMessageFutureThreadPoolNums
    pullMessageThreadPoolNums processReplyMessageThreadPoolNums queryMessageThreadPoolNums
    adminBrokerThreadPoolNums clientManageThreadPoolNums consumerManageThreadPoolNums
    heartbeatThreadPoolNums endTransactionThreadPoolNums flushConsumerOffsetInterval
    flushConsumerOffsetHistoryInterval rejectTransactionMessage fetchNamesrvAddrByAddressServer
    sendThreadPoolQueueCapacity putThreadPoolQueueCapacity pullThreadPoolQueueCapacity
    replyThreadPoolQueueCapacity queryThreadPoolQueueCapacity clientManagerThreadPoolQueueCapacity
    consumerManagerThreadPoolQueueCapacity heartbeatThreadPoolQueueCapacity
    endTransactionPoolQueueCapacity filterServerNums longPollingEnable shortPollingTimeMills
    notifyConsumerIdsChangedEnable highSpeedMode commercialEnable commercialTimerCount
    commercialTransCount commercialBigCount commercialBaseCount transferMsgByHeap maxDelayTime
    regionId registerBrokerTimeoutMills slaveReadEnable disableConsumeIfConsumerReadSlowly
    consumerFallbehindThreshold brokerFastFailureEnable waitTimeMillsInSendQueue
    waitTimeMillsInPullQueue waitTimeMillsInHeartbeatQueue waitTimeMillsInTransactionQueue
    startAcceptSendRequestTimeStamp traceOn enableCalcFilterBitMap expectConsumerNumUseFilter
    maxErrorRateOfBloomFilter filterDataCleanTimeSpan filterSupportRetry enablePropertyFilter
    compressedRegister forceRegister registerNameServerPeriod transactionTimeOut transactionCheckMax
    transactionCheckInterval aclEnable storeReplyMessageEnable enableDetailStat
    autoDeleteUnusedStats isolateLogEnable
"""
STORE = """
    storePathRootDir storePathCommitLog storePathDLedgerCommitLog readOnlyCommitLogStorePaths
    mappedFileSizeCommitLog mappedFileSizeConsumeQueue enableConsumeQueueExt
    mappedFileSizeConsumeQueueExt bitMapLengthConsumeQueueExt flushIntervalCommitLog
    commitIntervalCommitLog useReentrantLockWhenPutMessage flushCommitLogTimed
    flushIntervalConsumeQueue cleanResourceInterval deleteCommitLogFilesInterval
    deleteConsumeQueueFilesInterval destroyMapedFileIntervalForcibly redeleteHangedFileInterval
    deleteWhen diskMaxUsedSpaceRatio fileReservedTime putMsgIndexHightWater maxMessageSize
    checkCRCOnRecover flushCommitLogLeastPages commitCommitLogLeastPages
    flushLeastPagesWhenWarmMapedFile flushConsumeQueueLeastPages flushCommitLogThoroughInterval
    commitCommitLogThoroughInterval flushConsumeQueueThoroughInterval
    maxTransferBytesOnMessageInMemory maxTransferCountOnMessageInMemory
    maxTransferBytesOnMessageInDisk maxTransferCountOnMessageInDisk accessMessageInMemoryMaxRatio
    messageIndexEnable maxHashSlotNum maxIndexNum maxMsgsNumBatch messageIndexSafe haListenPort
    haSendHeartbeatInterval haHousekeepingInterval haTransferBatchSize haMasterAddress
    haSlaveFallbehindMax brokerRole flushDiskType syncFlushTimeout slaveTimeout messageDelayLevel
    flushDelayOffsetInterval cleanFileForciblyEnable warmMapedFileEnable offsetCheckInSlave
    debugLockEnable duplicationEnable diskFallRecorded osPageCacheBusyTimeOutMills
    defaultQueryMaxNum transientStorePoolEnable transientStorePoolSize fastFailIfNoBufferInStorePool
    enableDLegerCommitLog dLegerGroup dLegerPeers dLegerSelfId preferredLeaderId isEnableBatchPush
    enableScheduleMessageStats enableLmq enableMultiDispatch maxLmqConsumeQueueNum
    enableScheduleAsyncDeliver scheduleAsyncDeliverMaxPendingLimit
    scheduleAsyncDeliverMaxResendNum2Blocked
"""

PLACE = {name: place for names in (BROKER, STORE) for place, name in enumerate(names.split())}
"""Where a key of the broker or of the store stands among those of its class."""
