-- When members were told of a notice: nobody was yet if it is null. Of those that were there before nothing is known.

ALTER TABLE notices ADD COLUMN told INTEGER;
UPDATE notices SET told = 0;
CREATE INDEX notices_untold ON notices (group_id, number) WHERE told IS NULL;
