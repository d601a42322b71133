with

stores as (

    select * from {{ ref('stg_stores') }}

),

orders as (

    select * from {{ ref('orders') }}

),

last_day as (

    select max(ordered_date) as date_day
    from orders

),

-- Days without orders are included; averages over days would otherwise be too high.
open_days as (

    select
        stores.store_id,
        unnest(generate_series(stores.opened_date, last_day.date_day, interval 1 day))::date as date_day,

    from stores
    cross join last_day

),

sales as (

    select
        store_id,
        ordered_date as date_day,
        count(*) as order_count,
        sum(revenue) as revenue,
        sum(cost) as cost,
        sum(margin) as margin,

    from orders
    group by store_id, ordered_date

)

select
    open_days.store_id,
    open_days.date_day,
    coalesce(sales.order_count, 0) as order_count,
    coalesce(sales.revenue, 0) as revenue,
    coalesce(sales.cost, 0) as cost,
    coalesce(sales.margin, 0) as margin,

from open_days
left join sales using (store_id, date_day)

{% if var('break_one_model') -%}
where error('This model fails on purpose, because the var break_one_model is true.')
{%- endif %}
